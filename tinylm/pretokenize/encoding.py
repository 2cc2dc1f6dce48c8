"""Stories to ids, fast: what a piece of text becomes is remembered.

The words of stories repeat. Text is cut at spaces where a pre-token must begin, and the ids of each
piece are looked up by its bytes. A piece not seen before is cut into its pre-tokens, most of which
have been seen, so that the BPE itself seldom runs. The ids are exactly those of `Tokenizer.encode`.

On the way it is proven that every story comes back from its ids, without which bits per byte mean
nothing: a tokenizer that lower-cases, or has an id for unknown words, has less to predict.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokens.store import id_type

REMEMBERED = 1 << 18  # pieces; about 60 MB
LONGEST_REMEMBERED = 64  # bytes; a longer piece hardly comes again
STORIES_PER_CALL = 2048  # of the library's batch encoding
# GPT-2's pattern begins a pre-token at every space behind something else than white space, because it
# takes white space into a pre-token only at its start or when there is nothing else in it.
BORDER = re.compile(r"(?<=\S) ")
# GPT-2's pattern itself (Radford et al. 2019), for text in ASCII: there Python's classes are the library's.
ASCII_PRE_TOKENS = re.compile(rb"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


@dataclass(frozen=True)
class Altered:
    """A text that does not come back from its ids."""

    text: str
    decoded: str


class Encoder(Protocol):
    itemsize: int  # bytes of an id

    @property
    def altered(self) -> Altered | None:
        """The first text that did not come back from its ids."""

    def encode(self, stories: Sequence[bytes]) -> list[bytes]:
        """Ids of each story (UTF-8), the end-of-text id last, as little-endian integers of `id_type`.

        Raises UnicodeDecodeError for what is not UTF-8.
        """


def make_encoder(tokenizer: Tokenizer) -> Encoder:
    return PieceEncoder(tokenizer) if cuts_at_spaces(tokenizer) else LibraryEncoder(tokenizer)


def cuts_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the pieces between borders can be encoded, and decoded, alone.

    That is so for GPT-2's pattern, where no token reaches across a border.
    """
    made = json.loads(tokenizer.to_str())
    pattern = made["pre_tokenizer"] or {}
    return (
        made["normalizer"] is None
        and (pattern.get("type"), pattern.get("add_prefix_space"), pattern.get("use_regex"))
        == ("ByteLevel", False, True)
        and (made["decoder"] or {}).get("type") == "ByteLevel"
        and not made["model"].get("dropout")
        and not any(map(_reaches_across, made["added_tokens"]))
    )


def _reaches_across(added: dict[str, object]) -> bool:
    """Whether an added token may hold or take in the white space at a border, or asks for what is beyond it."""
    return any(c.isspace() for c in str(added["content"])) or bool(
        added["lstrip"] or added["rstrip"] or added["single_word"]
    )


class LibraryEncoder:
    """Any tokenizer, as the tokenizers library encodes it."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._dtype = tokenizer, id_type(tokenizer.get_vocab_size())
        self._end = end_of_text_id(tokenizer)
        self.itemsize = self._dtype.itemsize
        self.altered: Altered | None = None

    def encode(self, stories: Sequence[bytes]) -> list[bytes]:
        encoded: list[bytes] = []
        for first in range(0, len(stories), STORIES_PER_CALL):
            texts = [story.decode() for story in stories[first : first + STORIES_PER_CALL]]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            encoded += [np.array([*encoding.ids, self._end], self._dtype).tobytes() for encoding in encodings]
            if self.altered is None:
                ids = [encoding.ids for encoding in encodings]
                decoded = self._tokenizer.decode_batch(ids, skip_special_tokens=False)
                pairs = zip(texts, decoded, strict=True)
                self.altered = next((Altered(*pair) for pair in pairs if pair[0] != pair[1]), None)
        return encoded


class PieceEncoder:
    """A byte-level tokenizer with GPT-2's pattern."""

    def __init__(self, tokenizer: Tokenizer):
        self._end = np.array([end_of_text_id(tokenizer)], id_type(tokenizer.get_vocab_size())).tobytes()
        self.itemsize = len(self._end)
        self._pre_tokens = _PreTokens(tokenizer)
        self._first, self._others = _Pieces(self._pre_tokens, before=b""), _Pieces(self._pre_tokens, before=b" ")

    @property
    def altered(self) -> Altered | None:
        return self._pre_tokens.altered

    def encode(self, stories: Sequence[bytes]) -> list[bytes]:
        others, end = self._others.__getitem__, self._end
        encoded = []
        for story in stories:
            first, _, rest = story.partition(b" ")
            try:
                encoded.append(self._first[first] + b"".join(map(others, rest.split(b" "))) + end)
            except _NoBorderError:
                encoded.append(self._encode_with_care(story) + end)
        return encoded

    def _encode_with_care(self, story: bytes) -> bytes:
        """A story in which not every space is a border."""
        first, *others = (piece.encode() for piece in BORDER.split(story.decode()))
        return self._first.ids(first) + b"".join(map(self._others.ids, others))


class _NoBorderError(Exception):
    """The space behind a piece may be none."""


class _Memory(dict[bytes, bytes]):
    """Ids by text; begins anew when it is full."""

    def remember(self, text: bytes, ids: bytes) -> bytes:
        if len(text) <= LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[text] = ids
        return ids


class _Pieces(_Memory):
    """Every piece in it ends in something else than white space, so a space behind it is a border."""

    def __init__(self, pre_tokens: "_PreTokens", before: bytes):
        super().__init__()
        self._pre_tokens, self._before = pre_tokens, before

    def __missing__(self, piece: bytes) -> bytes:
        if _ends_in_space(piece):
            raise _NoBorderError
        return self.remember(piece, self._pre_tokens.encode(self._before + piece))

    def ids(self, piece: bytes) -> bytes:
        """The ids of any piece between two borders."""
        return self._pre_tokens.encode(self._before + piece) if _ends_in_space(piece) else self[piece]


def _ends_in_space(piece: bytes) -> bool:
    """Also for an empty piece, which stands beside the space at its other end."""
    return not piece or piece.decode()[-1].isspace()


class _PreTokens(_Memory):
    """What the BPE makes of each pre-token, each proven to come back; so do the stories, which are their sequence."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self._tokenizer, self._dtype = tokenizer, id_type(tokenizer.get_vocab_size())
        self.altered: Altered | None = None
        added = [token.content.encode() for token in tokenizer.get_added_tokens_decoder().values()]
        self._added = re.compile(b"|".join(map(re.escape, added)))

    def encode(self, text: bytes) -> bytes:
        if text.isascii() and not self._added.search(text):
            return b"".join(map(self.__getitem__, ASCII_PRE_TOKENS.findall(text)))
        return self._encode(text)

    def __missing__(self, pre_token: bytes) -> bytes:
        return self.remember(pre_token, self._encode(pre_token))

    def _encode(self, text: bytes) -> bytes:
        ids = self._tokenizer.encode(text.decode(), add_special_tokens=False).ids
        if self.altered is None:
            decoded = self._tokenizer.decode(ids, skip_special_tokens=False)
            if decoded != text.decode():
                self.altered = Altered(text.decode(), decoded)
        return np.array(ids, self._dtype).tobytes()
