"""Calibration: of the predictions that get a probability of 70%, 70% should be correct."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Bin:
    """Tokens for which the most likely prediction has about the same probability."""

    confidence: float  # mean of these probabilities
    accuracy: float  # share of these predictions that are correct
    tokens: int


def reliability(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> list[Bin]:
    """Return the points of a reliability diagram: the non-empty bins of equal width between 0 and 1.

    confidence: (tokens,) probability of the most likely prediction; correct: (tokens,) whether it is the token.
    """
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    tokens = np.bincount(which, minlength=BINS)
    confidences, accuracies = (np.bincount(which, values, minlength=BINS) for values in (confidence, correct))
    return [
        Bin(float(confidences[bin_] / tokens[bin_]), float(accuracies[bin_] / tokens[bin_]), int(tokens[bin_]))
        for bin_ in np.flatnonzero(tokens)
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Return the mean of |confidence - accuracy| over the tokens (Guo et al. 2017, arXiv:1706.04599); 0 is best."""
    return sum(bin_.tokens * abs(bin_.confidence - bin_.accuracy) for bin_ in bins) / sum(b.tokens for b in bins)
