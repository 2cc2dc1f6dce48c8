"""Text without meaning, which takes as long to train on as stories."""

import numpy as np
from numpy.typing import NDArray

from tinylm.tokens.description import SplitInfo
from tinylm.tokens.store import TokenSplit, TokenStore

TOKENS_PER_STORY = 225  # of TinyStories, with GPT-2's tokenizer or one of 8,192 entries


def random_store(count: int, vocab_size: int) -> TokenStore:
    """Return `count` random tokens in stories of equal length, for training and for validation."""
    dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
    split = _split(np.random.default_rng(1).integers(vocab_size, size=count).astype(dtype))
    return TokenStore(split, split, vocab_size, 0, "")


def empty_split(count: int) -> TokenSplit:
    """Return a split of `count` equal tokens, which take no memory: for counting sequences."""
    return _split(np.broadcast_to(np.uint16(0), (count,)))


def _split(ids: NDArray[np.unsignedinteger]) -> TokenSplit:
    count = len(ids)
    offsets = np.append(np.arange(0, count, TOKENS_PER_STORY, dtype="<u8"), np.uint64(count))
    info = SplitInfo(count, len(offsets) - 1, 4 * count, "", "", "", lossless=True)
    return TokenSplit("train", ids, offsets, 4 * offsets, info)
