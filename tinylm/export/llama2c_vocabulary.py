"""The vocabulary of a model in the order that llama2.c's run.c expects, and its file, tokenizer.bin."""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tinylm.export.source import Source
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS

NEVER = -math.inf  # the score of an entry that no two others merge into
_BYTES = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}


@dataclass(frozen=True)
class Entry:
    """An entry of the vocabulary; its id is its position."""

    piece: bytes
    score: float  # run.c merges the two neighbours first that, joined, are the piece with the highest score
    id: int | None  # in our vocabulary; None: not in it
    read_as: int  # our id, whose embedding the entry has


def entries(source: Source) -> list[Entry]:
    """Return the vocabulary: <unk>, <s>, </s>, the bytes from 3 on, merged tokens by rank, all others, and a prefix.

    <s> is <|endoftext|>. A byte is itself and not <0x41>, since run.c joins pieces to look up merges. The prefix, the
    last entry, undoes the space that run.c puts before a prompt: <s> and that space, joined, are its piece, and they
    merge first. As an input it is <|endoftext|>, so that a story begins as in training.
    """
    ids, end = source.tokenizer.get_vocab(), source.end_of_text
    ranks: dict[int, int] = {}
    for rank, (left, right) in enumerate(json.loads(source.tokenizer.to_str())["model"]["merges"]):
        ranks.setdefault(ids[left + right], rank)
    byte_ids = [ids[symbol] for symbol in BYTE_SYMBOLS]
    rest = sorted(set(range(source.vocab_size)) - {end, *byte_ids}, key=lambda id_: (ranks.get(id_, math.inf), id_))
    start = Entry(b"\n<s>\n", NEVER, end, end)  # with llama2.c's line ends, so that no text has it
    return [
        Entry(b"<unk>", NEVER, None, end),
        start,
        Entry(b"\n</s>\n", NEVER, None, end),
        *(Entry(bytes([byte]), NEVER, id_, id_) for byte, id_ in enumerate(byte_ids)),
        *(Entry(_piece(source, id_), -ranks.get(id_, math.inf), id_, id_) for id_ in rest),
        Entry(start.piece + b" ", 1.0, None, end),
    ]


def _piece(source: Source, id_: int) -> bytes:
    """Return the text of a token. Ids that only the embedding has are the byte 0: run.c refuses an empty piece."""
    if (name := source.tokenizer.id_to_token(id_)) is None:
        return b"\0"
    if id_ in source.tokenizer.get_added_tokens_decoder():
        return name.encode()
    return bytes(_BYTES[symbol] for symbol in name)


def tokenizer_bin(vocabulary: Sequence[Entry]) -> bytes:
    """Return the file: the length of the longest piece, then the score, length and bytes of each, little-endian."""
    parts = [struct.pack("<i", max(len(entry.piece) for entry in vocabulary))]
    parts += [struct.pack("<fi", entry.score, len(entry.piece)) + entry.piece for entry in vocabulary]
    return b"".join(parts)
