"""Count the words of a corpus, in all cores: what BPE training needs to know of it.

A word is a pre-token of GPT-2's pattern. Text is split at spaces first, and the pattern splits each different piece
only once. A story in which a space may not begin a pre-token, such as the second of two spaces, is split with care.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from tinylm.corpus.row_groups import map_row_groups
from tinylm.corpus.storage import RowGroup, not_utf8, read_row_group
from tinylm.tokenizer.pre_tokens import BORDER, ends_in_space, pre_tokens
from tinylm.workers.workers import Workers

SUSPECT = (b"  ", b"\n ")  # nearly all spaces that follow white space
Pieces = Counter[bytes]  # how often each piece of text between two borders occurs, with the space before it


def count_words(corpus: Path, workers: Workers) -> Counter[bytes]:
    """Return how often each word of a split occurs. Raises UserError for a damaged file or workers that died."""
    pieces = Pieces()
    for counted in map_row_groups(corpus, _make_work, workers):
        pieces.update(counted)
    try:
        return split_pieces(pieces)
    except UnicodeDecodeError as error:
        raise not_utf8(corpus, error) from None


def _make_work() -> Callable[[RowGroup], Pieces]:
    return _count_row_group


def _count_row_group(group: RowGroup) -> Pieces:
    try:
        return count_pieces(read_row_group(group))
    except UnicodeDecodeError as error:
        raise not_utf8(group.path, error) from None


def count_pieces(stories: Sequence[bytes]) -> Pieces:
    """Count the pieces of stories (UTF-8). Raises UnicodeDecodeError for a piece that is not UTF-8."""
    regular, odd = list[bytes](), list[bytes]()
    for story in stories:
        (odd if _suspect(story) else regular).append(story)
    while True:
        split = [story.split(b" ") for story in regular]
        first = Counter(pieces[0] for pieces in split)
        others = Counter(chain.from_iterable(pieces[1:] for pieces in split))
        no_border = set(filter(ends_in_space, {*first, *others}))
        if not no_border:
            break
        odd += [story for story, pieces in zip(regular, split, strict=True) if not no_border.isdisjoint(pieces)]
        regular = [story for story, pieces in zip(regular, split, strict=True) if no_border.isdisjoint(pieces)]
    counted = first
    for piece, count in others.items():
        counted[b" " + piece] += count
    counted.update(chain.from_iterable(map(split_at_borders, odd)))
    return counted


def _suspect(story: bytes) -> bool:
    """Whether a space of the story may not begin a pre-token. A quick test, which misses rare cases."""
    return story[:1] == b" " or story[-1:] == b" " or any(map(story.__contains__, SUSPECT))


def split_at_borders(story: bytes) -> list[bytes]:
    """Split any story (UTF-8) before each space that must begin a pre-token."""
    head, *rest = BORDER.split(story.decode())
    return [head.encode(), *(f" {piece}".encode() for piece in rest)]


def split_pieces(pieces: Pieces) -> Counter[bytes]:
    """Split pieces into words. Raises UnicodeDecodeError if one is not UTF-8."""
    words = Counter[bytes]()
    for piece, count in pieces.items():
        for word in pre_tokens(piece):
            words[word] += count
    return words


def count_words_of(stories: Iterable[str]) -> Counter[bytes]:
    """Return how often each word of stories in memory occurs."""
    return split_pieces(count_pieces([story.encode() for story in stories]))
