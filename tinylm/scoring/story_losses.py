"""The loss of each of some stories, and what it comes to: per token, per byte, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinylm.scoring.bits_per_byte import to_bits
from tinylm.scoring.bootstrap import Interval, ratio, ratio_interval


@dataclass(frozen=True)
class StoryLosses:
    """Sums over each story, all (stories,): what another run's can be compared with story by story."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]  # end-of-text included
    text_bytes: NDArray[np.int64] | None  # in UTF-8; None: the ids do not give the text back

    @property
    def loss(self) -> float:
        """Nats per token."""
        return ratio(self.nats, self.tokens)

    @property
    def bits_per_byte(self) -> float | None:
        return None if self.text_bytes is None else ratio(to_bits(self.nats), self.text_bytes)

    def loss_interval(self) -> Interval:
        return ratio_interval(self.nats, self.tokens)

    def bits_per_byte_interval(self) -> Interval | None:
        return None if self.text_bytes is None else ratio_interval(to_bits(self.nats), self.text_bytes)
