"""The learning rate at a step."""

import math


def learning_rate_factor(step: int, steps: int, warmup_steps: int, final_fraction: float, decay: str) -> float:
    """Share of the peak at `step` (0 to steps - 1): a linear rise, then half a cosine, or a line, to `final_fraction`.

    The first step already learns (1 / warmup_steps of the peak); the last step is at `final_fraction`
    of the peak, or, where that is zero, as near to it as one step allows: a step at rate zero would be lost.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / (steps - warmup_steps + (final_fraction == 0))
    left = 1 - progress if decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return final_fraction + (1 - final_fraction) * left
