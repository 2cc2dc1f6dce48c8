"""Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; on bytes: Radford et al. 2019, GPT-2) from word counts.

The merges are those of `tokenizers.trainers.BpeTrainer` on the same text. That trainer reads the whole text and takes
no counts, and counting is nearly all of its time. This one starts from the counts: its time and memory depend on the
number of different words, which grows slowly with the text.
"""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TypeAlias

from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS

Pair = tuple[int, int]
Places: TypeAlias = "array[int]"
END = -1  # no symbol: before the first and after the last one of a word


def learn_merges(
    words: Mapping[bytes, int], vocab_size: int, min_frequency: int, special_tokens: Iterable[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary, ids by token, and the merges in order, for words with their counts.

    The vocabulary has the special tokens first, then the 256 bytes, then merged tokens, up to `vocab_size` entries or
    as many as there are pairs that occur at least `min_frequency` times.
    """
    tokens = [*special_tokens, *sorted(BYTE_SYMBOLS)]
    ids = {token: index for index, token in enumerate(tokens)}
    of_byte = [ids[symbol] for symbol in BYTE_SYMBOLS]
    symbols = _Symbols(words, of_byte)
    queue = [(-symbols.counts[pair], *pair, places) for pair, places in symbols.places.items()]
    heapq.heapify(queue)  # by count, highest first; pairs of equal counts by their ids
    merges: list[Pair] = []
    while queue and len(tokens) < vocab_size:
        negative, a, b, places = heapq.heappop(queue)
        pair = a, b
        count = symbols.counts[pair]
        if count != -negative:  # other merges have used up some occurrences
            heapq.heappush(queue, (-count, a, b, places))
            continue
        if count < max(1, min_frequency):
            break
        token = tokens[a] + tokens[b]
        new = ids.setdefault(token, len(tokens))  # two ways may lead to one token: a + bc, ab + c
        if new == len(tokens):
            tokens.append(token)
        merges.append(pair)
        for made, where in symbols.merge(pair, new, places).items():
            if symbols.counts[made] > 0:
                heapq.heappush(queue, (-symbols.counts[made], *made, where))
    return ids, [(tokens[a], tokens[b]) for a, b in merges]


def _no_places() -> Places:
    return array("q")


class _Symbols:
    """All words as one doubly linked list of symbols; a place is an index into it.

    A merge visits only the places of its pair, so that all merges together take time in proportion to the number of
    symbols, even if the words are long.
    """

    def __init__(self, words: Mapping[bytes, int], of_byte: list[int]):
        self.ids = array("i", [END])
        self.weights = array("q", [0])  # the count of each place's word
        self.counts: defaultdict[Pair, int] = defaultdict(int)
        self.places: defaultdict[Pair, Places] = defaultdict(_no_places)
        for word, count in words.items():
            start = len(self.ids)
            symbols = [of_byte[byte] for byte in word]
            self.ids.extend([*symbols, END])
            self.weights.extend([count] * (len(word) + 1))
            for place, pair in enumerate(pairwise(symbols), start):
                self.counts[pair] += count
                self.places[pair].append(place)
        self.next = array("q", range(1, len(self.ids) + 1))
        self.previous = array("q", range(-1, len(self.ids) - 1))

    def merge(self, pair: Pair, new: int, places: Places) -> dict[Pair, Places]:
        """Replace the pair at `places`, where it still is; return the places of the pairs that this creates."""
        ids, following, preceding, counts = self.ids, self.next, self.previous, self.counts
        a, b = pair
        made: defaultdict[Pair, Places] = defaultdict(_no_places)
        for place in sorted(places):
            after = following[place]
            if ids[place] != a or ids[after] != b:
                continue
            before, beyond, weight = preceding[place], following[after], self.weights[place]
            left, right = ids[before], ids[beyond]
            ids[place] = new
            ids[after] = END  # taken out of the list; no pair is there any more
            following[place] = beyond
            preceding[beyond] = place
            if left != END:
                counts[left, a] -= weight
                counts[left, new] += weight
                made[left, new].append(before)
            if right != END:
                counts[b, right] -= weight
                counts[new, right] += weight
                made[new, right].append(place)
        return made
