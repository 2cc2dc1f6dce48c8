"""How much of a text stands in the training stories, word for word.

The texts are few and the corpus is large, so it is the corpus that streams by: memory is bounded by the
texts, and a pass over gigabytes takes minutes. Words and runs of words are compared by 64-bit hashes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinylm.compute.counter_rng import mix
from tinylm.corpus.storage import count_row_groups, read_row_group

LONGEST = 100  # words of a run that are looked at
BYTES_AT_ONCE = 2 << 20  # of the corpus
BASE = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial hashes: odd, so that it can be divided by modulo 2^64
FILTER_BITS = 20  # of the table that most hashes are turned away by

Hashes = NDArray[np.uint64]


def longest_matches(texts: Sequence[str], corpus: Path) -> list[NDArray[np.int64]]:
    """For each word of each text, the words from there on that one story of the corpus holds in that order.

    0: the word is not in the corpus. `LONGEST` at most. All stories of the corpus are read once.
    """
    ours = _Words([text.encode() for text in texts])
    runs = [_Runs(ours, 1)]
    for stories in _chunks(corpus):
        _mark(_Words(stories), ours, runs)
    lengths = np.zeros(len(ours.story), np.int64)
    for run in runs:
        lengths[run.places] += run.found[run.which]
    return np.split(lengths, np.searchsorted(ours.story, np.arange(1, len(texts))))


class _Words:
    """The words of texts in UTF-8: the hash of each, as sums from which that of any run can be had."""

    def __init__(self, texts: Sequence[bytes]):
        data = np.frombuffer(b"\n".join([*texts, b""]), np.uint8)
        inside = IN_WORD[data]
        dash = np.flatnonzero((data[:-2] == 0xE2) & (data[1:-1] == 0x80))  # U+2000 to U+203F
        for place in range(3):
            inside[dash + place] = False
        edges = np.flatnonzero(np.diff(inside, prepend=False))
        starts, ends = edges[::2], edges[1::2]
        letters = _sums(LOWER_CASE[data])
        hashes = mix((letters[ends] - letters[starts]) * _powers(INVERSE, len(data))[starts])
        self.sums = _sums(hashes)
        text_ends = np.cumsum([len(text) + 1 for text in texts])
        self.story = np.searchsorted(text_ends, starts, side="right")  # whose word it is

    def runs(self, places: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], Hashes]:
        """Those of `places` from which a text goes on for `length` words, and the hashes of these words."""
        places = places[: np.searchsorted(places, len(self.story) - length, side="right")]
        places = places[self.story[places] == self.story[places + length - 1]]
        return places, (self.sums[places + length] - self.sums[places]) * _powers(INVERSE, len(self.sums))[places]


class _Runs:
    """All runs of one length in our texts, and which of them the corpus has."""

    def __init__(self, words: _Words, length: int):
        self.places, hashes = words.runs(np.arange(len(words.story)), length)
        self.keys, which = np.unique(hashes, return_inverse=True)
        self.which = which.astype(np.int32)
        self.found = np.zeros(len(self.keys), bool)
        self.maybe = np.zeros(1 << FILTER_BITS, bool)
        self.maybe[_slot(self.keys)] = True

    def mark(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Remember those of `hashes` that are ours; which they are."""
        ours = self.maybe[_slot(hashes)]
        candidates = hashes[ours]
        index = np.minimum(np.searchsorted(self.keys, candidates), len(self.keys) - 1)
        equal = self.keys[index] == candidates
        self.found[index[equal]] = True
        ours[ours] = equal
        return ours


def _mark(theirs: _Words, ours: _Words, runs: list[_Runs]) -> None:
    """Longer and longer runs of the corpus, each from where the one before was ours; `runs` grows as needed."""
    places = np.arange(len(theirs.story))
    for length in range(1, LONGEST + 1):
        if length > len(runs):
            runs.append(_Runs(ours, length))
        if not len(runs[length - 1].keys):
            return
        places, hashes = theirs.runs(places, length)
        places = places[runs[length - 1].mark(hashes)]
        if not len(places):
            return


def _chunks(corpus: Path) -> Iterator[list[bytes]]:
    for group in range(count_row_groups(corpus)):
        chunk, size = [], 0
        for story in read_row_group(corpus, group):
            chunk.append(story)
            size += len(story)
            if size >= BYTES_AT_ONCE:
                yield chunk
                chunk, size = [], 0
        yield chunk


def _sums(values: Hashes) -> Hashes:
    """(N + 1,) sums of the first 0, 1, ... N values, the n-th times BASE^n, modulo 2^64."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _powers(BASE, len(values)))])


def _powers(base: np.uint64, count: int) -> Hashes:
    """The first `count` powers and perhaps more, kept from call to call."""
    kept = POWERS.get(int(base))
    if kept is None or len(kept) < count:
        size = 1 << count.bit_length()
        kept = POWERS[int(base)] = np.concatenate([[np.uint64(1)], np.full(size - 1, base)]).cumprod(dtype=np.uint64)
    return kept[:count]


def _slot(hashes: Hashes) -> Hashes:
    return (hashes * BASE) >> np.uint64(64 - FILTER_BITS)


def _in_word() -> NDArray[np.bool_]:
    """By byte: whether it belongs to a word, as words.WORD says; dashes and curly quotes are seen to apart."""
    return np.array([byte >= 0x80 or chr(byte).isalnum() for byte in range(256)])


POWERS: dict[int, Hashes] = {}
INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
IN_WORD = _in_word()
LOWER_CASE = np.array([byte + 32 if 65 <= byte <= 90 else byte for byte in range(256)], np.uint64)
