"""Bits per byte of UTF-8 text, which unlike nats per token are comparable across tokenizers.

The total loss in bits divided by the number of bytes of the stories' text. End-of-text tokens count in the loss and
add no bytes. If the tokenizer is lossy (decoding does not restore the text), bits per byte are undefined: None.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Nats = TypeVar("Nats", float, NDArray[np.float64])


def to_bits(nats: Nats) -> Nats:
    """Convert nats to bits."""
    return nats / math.log(2)


def bits_per_byte(loss: float, bytes_per_token: float | None) -> float | None:
    """Convert a loss [nats per token] to bits per byte; None if `bytes_per_token` is None (a lossy tokenizer).

    `bytes_per_token` is that of a whole split: exact for the loss of the split, an approximation for part of it.
    """
    return None if bytes_per_token is None else to_bits(loss) / bytes_per_token
