"""Find the parts of texts that occur word for word in the training stories.

The texts are few and the corpus is large, so the corpus is streamed: memory is bounded by the texts, and a pass over
gigabytes takes minutes. Words and n-grams are compared by 64-bit rolling hashes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinylm.compute.counter_rng import mix
from tinylm.corpus.storage import read_row_group, row_groups

LONGEST = 100  # words; longer matches are cut
BYTES_AT_ONCE = 2 << 20  # bytes of the corpus per chunk
BASE = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial hashes; odd, so that it has an inverse modulo 2^64
SLOT_BITS = 18  # of the hash table of n-grams, so that few of our texts' n-grams share a slot
NONE = -1  # an empty slot

Hashes = NDArray[np.uint64]


def longest_matches(texts: Sequence[str], corpus: Path) -> list[NDArray[np.int64]]:
    """Return, for each word of each text, the length of the longest match that starts there [words].

    A match is a sequence of words that one story of the corpus contains; 0 means that the word is not in the corpus,
    and `LONGEST` is the maximum. Reads the corpus once. Raises UserError if it is missing or damaged.
    """
    ours = _Words([text.encode() for text in texts])
    tables = [_NgramTable(ours, 1)]
    for stories in _chunks(corpus):
        _mark(_Words(stories), ours, tables)
    lengths = np.zeros(len(ours.story), np.int64)
    for table in tables:
        lengths[table.positions] += table.found[table.which]
    return np.split(lengths, np.searchsorted(ours.story, np.arange(1, len(texts))))


class _Words:
    """The words of texts in UTF-8, as prefix sums of word hashes, which give the hash of any n-gram."""

    def __init__(self, texts: Sequence[bytes]):
        data = np.frombuffer(b"\n".join([*texts, b""]), np.uint8)
        inside = IN_WORD[data]
        dash = np.flatnonzero((data[:-2] == 0xE2) & (data[1:-1] == 0x80))  # U+2000 to U+203F
        for offset in range(3):
            inside[dash + offset] = False
        edges = np.flatnonzero(np.diff(inside, prepend=False))
        starts, ends = edges[::2], edges[1::2]
        letters = _sums(LOWER_CASE[data])
        hashes = mix((letters[ends] - letters[starts]) * _powers(INVERSE, len(data))[starts])
        self.sums = _sums(hashes)
        text_ends = np.cumsum([len(text) + 1 for text in texts])
        self.story = np.searchsorted(text_ends, starts, side="right")  # index of the text of each word

    def ngrams(self, positions: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], Hashes]:
        """Return those of `positions` at which an n-gram starts within one text, and the hashes of these n-grams."""
        positions = positions[: np.searchsorted(positions, len(self.story) - n, side="right")]
        positions = positions[self.story[positions] == self.story[positions + n - 1]]
        sums = self.sums[positions + n] - self.sums[positions]
        return positions, sums * _powers(INVERSE, len(self.sums))[positions]


class _NgramTable:
    """All n-grams of our texts for one n, and which of them the corpus contains."""

    def __init__(self, words: _Words, n: int):
        self.positions, hashes = words.ngrams(np.arange(len(words.story)), n)
        self.keys, which = np.unique(hashes, return_inverse=True)
        self.which = which.astype(np.int32)
        self.found = np.zeros(len(self.keys), bool)
        self.slots = np.full(1 << SLOT_BITS, NONE, np.int32)  # a hash table without chains: one key of each slot
        self.slots[_slot(self.keys)] = np.arange(len(self.keys))
        shared = self.slots[_slot(self.keys)] != np.arange(len(self.keys))
        self.others = self.keys[shared]  # keys that found their slot taken, in ascending order
        self.other_indices = np.flatnonzero(shared)

    def mark(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Mark the n-grams with these hashes as found; returns a mask of the hashes that are in the table."""
        index = self.slots[_slot(hashes)]
        ours = index != NONE
        candidates, index = hashes[ours], index[ours]
        equal = self.keys[index] == candidates
        if len(self.others):
            rest = np.flatnonzero(~equal)
            place = np.minimum(np.searchsorted(self.others, candidates[rest]), len(self.others) - 1)
            index[rest] = self.other_indices[place]
            equal[rest] = self.others[place] == candidates[rest]
        self.found[index[equal]] = True
        ours[ours] = equal
        return ours


def _mark(theirs: _Words, ours: _Words, tables: list[_NgramTable]) -> None:
    """Mark the n-grams of a chunk of the corpus for n = 1, 2, ..., extending only matches; adds tables as needed."""
    positions = np.arange(len(theirs.story))
    for n in range(1, LONGEST + 1):
        if n > len(tables):
            tables.append(_NgramTable(ours, n))
        if not len(tables[n - 1].keys):
            return
        positions, hashes = theirs.ngrams(positions, n)
        positions = positions[tables[n - 1].mark(hashes)]
        if not len(positions):
            return


def _chunks(corpus: Path) -> Iterator[list[bytes]]:
    """Yield the stories of the corpus in lists of about BYTES_AT_ONCE bytes."""
    for group in row_groups(corpus):
        chunk, size = [], 0
        for story in read_row_group(group):
            chunk.append(story)
            size += len(story)
            if size >= BYTES_AT_ONCE:
                yield chunk
                chunk, size = [], 0
        yield chunk


def _sums(values: Hashes) -> Hashes:
    """Return prefix sums (N + 1,) of values (N,), with value n multiplied by BASE^n, modulo 2^64."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _powers(BASE, len(values)))])


def _powers(base: np.uint64, count: int) -> Hashes:
    """Return the first `count` powers of `base`, cached between calls."""
    kept = POWERS.get(int(base))
    if kept is None or len(kept) < count:
        size = 1 << count.bit_length()
        kept = POWERS[int(base)] = np.concatenate([[np.uint64(1)], np.full(size - 1, base)]).cumprod(dtype=np.uint64)
    return kept[:count]


def _slot(hashes: Hashes) -> Hashes:
    return (hashes * BASE) >> np.uint64(64 - SLOT_BITS)


def _in_word() -> NDArray[np.bool_]:
    """Return which bytes belong to a word, as in words.WORD; _Words handles the U+2000 block (dashes, curly quotes)."""
    return np.array([byte >= 0x80 or chr(byte).isalnum() for byte in range(256)])


POWERS: dict[int, Hashes] = {}
INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
IN_WORD = _in_word()
LOWER_CASE = np.array([byte + 32 if 65 <= byte <= 90 else byte for byte in range(256)], np.uint64)
