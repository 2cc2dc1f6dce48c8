"""Loss of each story, and its aggregates: per token and per byte, with confidence intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinylm.scoring.bits_per_byte import to_bits
from tinylm.scoring.bootstrap import Interval, ratio, ratio_interval


@dataclass(frozen=True)
class StoryLosses:
    """Sums over the tokens of each story, all (stories,), so that runs can be compared story by story."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]  # with the end-of-text token
    text_bytes: NDArray[np.int64] | None  # of the UTF-8 text; None: the tokenizer is lossy

    @property
    def loss(self) -> float:
        """Mean loss [nats per token]."""
        return ratio(self.nats, self.tokens)

    @property
    def bits_per_byte(self) -> float | None:
        """Mean loss [bits per byte]; None for a lossy tokenizer."""
        return None if self.text_bytes is None else ratio(to_bits(self.nats), self.text_bytes)

    def loss_interval(self) -> Interval:
        """Return the confidence interval of `loss`."""
        return ratio_interval(self.nats, self.tokens)

    def bits_per_byte_interval(self) -> Interval | None:
        """Return the confidence interval of `bits_per_byte`; None for a lossy tokenizer."""
        return None if self.text_bytes is None else ratio_interval(to_bits(self.nats), self.text_bytes)
