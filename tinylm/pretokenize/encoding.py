"""Encode stories fast, with a cache of the ids of each piece of text.

The words of stories repeat. Text is split at spaces where a pre-token must begin, and the ids of each piece are looked
up by its bytes. A piece that is not in the cache is split into pre-tokens, most of which are, so that the BPE itself
rarely runs. The ids are exactly those of `Tokenizer.encode`.

The encoder also checks that decoding restores every story; otherwise bits per byte would be meaningless: a tokenizer
that lower-cases text, or has one id for all unknown words, leaves less to predict.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokenizer.pre_tokens import ASCII_PRE_TOKENS, BORDER, ends_in_space
from tinylm.tokens.description import id_type

CACHE_SIZE = 1 << 18  # entries; about 60 MB
LONGEST_CACHED = 64  # bytes; longer pieces rarely repeat
STORIES_PER_CALL = 2048  # for the library's batch encoding


@dataclass(frozen=True)
class Altered:
    """A text that decoding does not restore."""

    text: str
    decoded: str


class Encoder(Protocol):
    """Encodes stories as the bytes of their ids."""

    itemsize: int  # bytes per id

    @property
    def altered(self) -> Altered | None:
        """The first text so far that decoding did not restore; None if there is none."""

    def encode(self, stories: Sequence[bytes]) -> list[bytes]:
        """Return the ids of each story (UTF-8) followed by end-of-text, as little-endian integers of `id_type`.

        Raises UnicodeDecodeError if a story is not UTF-8.
        """


def make_encoder(tokenizer: Tokenizer) -> Encoder:
    """Return the fast encoder if the tokenizer allows it, else the library's."""
    return PieceEncoder(tokenizer) if cuts_at_spaces(tokenizer) else LibraryEncoder(tokenizer)


def cuts_at_spaces(tokenizer: Tokenizer) -> bool:
    """Return whether the pieces between borders can be encoded and decoded independently.

    They can with GPT-2's pattern, if no added token reaches across a border.
    """
    config = json.loads(tokenizer.to_str())
    pattern = config["pre_tokenizer"] or {}
    return (
        config["normalizer"] is None
        and (pattern.get("type"), pattern.get("add_prefix_space"), pattern.get("use_regex"))
        == ("ByteLevel", False, True)
        and (config["decoder"] or {}).get("type") == "ByteLevel"
        and not config["model"].get("dropout")
        and not any(map(_reaches_across, config["added_tokens"]))
    )


def _reaches_across(added: dict[str, object]) -> bool:
    """Return whether an added token may contain or absorb white space at a border, or looks past the border."""
    return any(c.isspace() for c in str(added["content"])) or bool(
        added["lstrip"] or added["rstrip"] or added["single_word"]
    )


class LibraryEncoder:
    """Encodes with the tokenizers library; works for any tokenizer."""

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
    """Encodes piece by piece with a cache; for byte-level tokenizers with GPT-2's pattern."""

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
                encoded.append(self._encode_at_borders(story) + end)
        return encoded

    def _encode_at_borders(self, story: bytes) -> bytes:
        """Encode a story in which not every space is a border."""
        first, *others = (piece.encode() for piece in BORDER.split(story.decode()))
        return self._first.ids(first) + b"".join(map(self._others.ids, others))


class _NoBorderError(Exception):
    """The space after a piece may not be a border."""


class _Cache(dict[bytes, bytes]):
    """Ids by text; it is emptied when full."""

    def store(self, text: bytes, ids: bytes) -> bytes:
        if len(text) <= LONGEST_CACHED:
            if len(self) >= CACHE_SIZE:
                self.clear()
            self[text] = ids
        return ids


class _Pieces(_Cache):
    """A cache of pieces that do not end in white space, so that a space after them is a border."""

    def __init__(self, pre_tokens: "_PreTokens", before: bytes):
        super().__init__()
        self._pre_tokens, self._before = pre_tokens, before

    def __missing__(self, piece: bytes) -> bytes:
        if ends_in_space(piece):
            raise _NoBorderError
        return self.store(piece, self._pre_tokens.encode(self._before + piece))

    def ids(self, piece: bytes) -> bytes:
        """Return the ids of any piece between two borders."""
        return self._pre_tokens.encode(self._before + piece) if ends_in_space(piece) else self[piece]


class _PreTokens(_Cache):
    """A cache of pre-tokens. Checking that each is restored covers the stories, which are sequences of pre-tokens."""

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
        return self.store(pre_token, self._encode(pre_token))

    def _encode(self, text: bytes) -> bytes:
        ids = self._tokenizer.encode(text.decode(), add_special_tokens=False).ids
        if self.altered is None:
            decoded = self._tokenizer.decode(ids, skip_special_tokens=False)
            if decoded != text.decode():
                self.altered = Altered(text.decode(), decoded)
        return np.array(ids, self._dtype).tobytes()
