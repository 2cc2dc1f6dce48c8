"""Bits per byte of UTF-8 text: comparable across tokenizers, as nats per token are not.

The sum of the tokens' losses in bits, divided by the bytes of the stories' text. End-of-text tokens are scored and add
no bytes. Where decoding the ids does not give the text back the figure means nothing, and is None everywhere.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Nats = TypeVar("Nats", float, NDArray[np.float64])


def to_bits(nats: Nats) -> Nats:
    return nats / math.log(2)


def bits_per_byte(loss: float, bytes_per_token: float | None) -> float | None:
    """A loss [nats per token] in bits per byte, for text of so many bytes per token; None where its ids are lossy.

    Exact over a whole split; over a part of it, up to how far the part's bytes per token are from the split's.
    """
    return None if bytes_per_token is None else to_bits(loss) / bytes_per_token
