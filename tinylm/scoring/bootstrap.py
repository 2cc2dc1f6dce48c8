"""Bootstrap confidence intervals over stories (Efron 1979)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A percentile interval: it contains LEVEL of the resampled values, and the estimate itself."""

    low: float
    high: float


def ratio_interval(parts: ArrayLike, sizes: ArrayLike, seed: int = 0) -> Interval:
    """Return the interval of sum(parts) / sum(sizes), where `parts` and `sizes` have one value per story.

    Resamples whole stories, since the tokens of a story are not independent. Deterministic for given arguments. A
    single story gives an interval of width zero.
    """
    parts, sizes = np.asarray(parts, np.float64), np.asarray(sizes, np.float64)
    generator, ratios = np.random.default_rng(seed), np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        drawn = generator.integers(len(parts), size=len(parts))
        ratios[resample] = parts[drawn].sum() / sizes[drawn].sum()
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    # Rounding (stories all alike) or few, very uneven stories can put the estimate outside of the quantiles.
    estimate = ratio(parts, sizes)
    return Interval(min(float(low), estimate), max(float(high), estimate))


def ratio(parts: ArrayLike, sizes: ArrayLike) -> float:
    """Return sum(parts) / sum(sizes), summed in float64."""
    return float(np.asarray(parts, np.float64).sum() / np.asarray(sizes, np.float64).sum())
