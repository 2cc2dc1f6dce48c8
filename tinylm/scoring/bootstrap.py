"""How sure a mean over stories is, by drawing the stories again (Efron 1979)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """The percentile interval that holds the figure in LEVEL of the resamples, and the figure itself."""

    low: float
    high: float


def ratio_interval(parts: ArrayLike, sizes: ArrayLike, seed: int = 0) -> Interval:
    """Of sum(parts) / sum(sizes), one of each for a story: whole stories are drawn, since their tokens go together.

    The same for the same arguments. A single story gives an interval without width.
    """
    parts, sizes = np.asarray(parts, np.float64), np.asarray(sizes, np.float64)
    generator, ratios = np.random.default_rng(seed), np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        drawn = generator.integers(len(parts), size=len(parts))
        ratios[resample] = parts[drawn].sum() / sizes[drawn].sum()
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    figure = ratio(parts, sizes)  # lies outside by rounding where all stories are alike, and with few very uneven ones
    return Interval(min(float(low), figure), max(float(high), figure))


def ratio(parts: ArrayLike, sizes: ArrayLike) -> float:
    """sum(parts) / sum(sizes), as every resample has it."""
    return float(np.asarray(parts, np.float64).sum() / np.asarray(sizes, np.float64).sum())
