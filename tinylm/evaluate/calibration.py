"""Whether a model's probabilities can be believed: of what it gives 70%, 70% should come true."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of Guo et al.


@dataclass(frozen=True)
class Bin:
    """Tokens whose likeliest guess had about the same probability."""

    confidence: float  # mean of these probabilities
    accuracy: float  # share of these guesses that were right
    tokens: int


def reliability(confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> list[Bin]:
    """The bins, of equal width between 0 and 1, that hold tokens: the points of a reliability diagram."""
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    tokens = np.bincount(which, minlength=BINS)
    confidences, accuracies = (np.bincount(which, values, minlength=BINS) for values in (confidence, correct))
    return [
        Bin(float(confidences[bin_] / tokens[bin_]), float(accuracies[bin_] / tokens[bin_]), int(tokens[bin_]))
        for bin_ in np.flatnonzero(tokens)
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Mean distance of confidence and accuracy over the tokens (Guo et al. 2017, arXiv:1706.04599): 0 is perfect."""
    return sum(bin_.tokens * abs(bin_.confidence - bin_.accuracy) for bin_ in bins) / sum(b.tokens for b in bins)
