"""Diagnosis: signs of trouble in the figures of a run, one line per finding.

The thresholds are rules of thumb. Each line names the figures that it is based on.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

Rows = Sequence[dict[str, Any]]

FIRST_LOSS_TOLERANCE = 0.1  # relative to ln(vocabulary), the loss of a uniform guess, which fresh weights make
PLATEAU_SHARE, PLATEAU_GAIN = 1 / 3, 0.002  # the last third of the validations gained less than 0.2%
FEWEST_VALIDATIONS = 6  # needed to detect a plateau
GAP = 0.15  # validation loss above training loss, relative to the latter
SLOWER = 0.8  # relative to the earlier speed
FEWEST_SPEEDS = 8  # needed to detect a slowdown
STARVING = 0.1  # share of the time spent reading sequences


def diagnose(train: Rows, val: Rows, guess_loss: float | None, best_step: int) -> list[str]:
    """Findings from the losses, equal for equal runs.

    `guess_loss` is ln(vocabulary), the loss of random weights; None: the weights were trained before.
    """
    first = [] if guess_loss is None else _first_loss(train, guess_loss)
    return [*first, *_plateau(val), *_gap(train, val), *_turned(val, best_step)]


def _first_loss(train: Rows, guess_loss: float) -> Iterator[str]:
    first = train[0]["loss"]
    if abs(first - guess_loss) > FIRST_LOSS_TOLERANCE * guess_loss:
        yield (
            f"first loss: {first:.3f} where guessing gives {guess_loss:.3f}; "
            "the initial weights or the targets are not what they should be"
        )


def _plateau(val: Rows) -> Iterator[str]:
    if len(val) < FEWEST_VALIDATIONS:
        return
    split = len(val) - math.ceil(len(val) * PLATEAU_SHARE)
    before, after = min(row["loss"] for row in val[:split]), min(row["loss"] for row in val[split:])
    if before * (1 - PLATEAU_GAIN) < after <= before:
        yield (
            f"plateau: validation loss went from {before:.4f} to {after:.4f} since step {val[split]['step']}; "
            "fewer steps, a larger model or more text would serve better"
        )


def _gap(train: Rows, val: Rows) -> Iterator[str]:
    last = train[-max(1, len(train) // 10) :]
    loss = sum(row["loss"] for row in last) / len(last)
    if val[-1]["loss"] > (1 + GAP) * loss:
        yield (
            f"gap: validation loss {val[-1]['loss']:.4f}, training loss {loss:.4f}; "
            "the model knows its training text by heart: more text, fewer epochs or a smaller model"
        )


def _turned(val: Rows, best_step: int) -> Iterator[str]:
    if best_step < val[-1]["step"]:
        best = min(row["loss"] for row in val)
        yield (
            f"turned: validation was best at step {best_step} ({best:.4f}) and is {val[-1]['loss']:.4f} at the end; "
            "the model folder holds the best weights"
        )


def diagnose_speed(speed: Rows, waiting_share: float) -> list[str]:
    """Findings that depend on the clock. `waiting_share` is the fraction of the time spent reading sequences."""
    lines = []
    if waiting_share > STARVING:
        lines.append(f"starving: {waiting_share:.0%} of the time was spent reading sequences; use a faster disk")
    speeds = [row["tokens_per_second"] for row in speed]
    if len(speeds) >= FEWEST_SPEEDS:
        quarter = len(speeds) // 4
        early, late = median(speeds[quarter : 2 * quarter]), median(speeds[-quarter:])
        if late < SLOWER * early:
            lines.append(
                f"slowing: {early:,.0f} tokens/s in the second quarter of the run, {late:,.0f} in the last; "
                "another program used the machine, or it was throttled by heat"
            )
    return lines
