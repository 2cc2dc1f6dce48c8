"""The learning rate schedule."""

import math


def learning_rate_factor(step: int, steps: int, warmup_steps: int, final_fraction: float, decay: str) -> float:
    """Learning rate at `step` (0 to steps - 1) as a fraction of the peak.

    Linear warm-up, then linear or cosine decay to `final_fraction` of the peak. No step has a rate of zero, since it
    would be wasted: the first step has 1 / warmup_steps of the peak, and with a `final_fraction` of 0 the decay would
    reach zero one step after the last.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / (steps - warmup_steps + (final_fraction == 0))
    left = 1 - progress if decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return final_fraction + (1 - final_fraction) * left
