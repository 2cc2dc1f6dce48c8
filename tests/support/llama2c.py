"""Read and run the files of llama2.c as its run.c does, in NumPy; written from the formats' description.

Shapes: V vocabulary, D width, L layers, F feed-forward width, T context, H heads, K head size.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

START = 1  # the id that begins a story, and ends it
BYTES = 3  # the id of byte 0
HEADER = struct.Struct("<7i")


@dataclass(frozen=True)
class Model:
    """The arrays of a model.bin with a head of its own."""

    heads: int
    arrays: dict[str, np.ndarray]
    rest: int  # bytes after the last array

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Return the logits (n, V) of n ids."""
        a, n = self.arrays, len(ids)
        x = a["embedding"][list(ids)]  # (n, D)
        for layer in range(len(a["wq"])):
            y = norm(x, a["attention_norm"][layer])
            q, k, v = (self._heads(y @ a[name][layer].T) for name in ("wq", "wk", "wv"))  # (H, n, K)
            scores = rotate(q) @ rotate(k).transpose(0, 2, 1) / np.sqrt(q.shape[-1])  # (H, n, n)
            scores[:, np.triu(np.ones((n, n), dtype=bool), 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            y = weights / weights.sum(-1, keepdims=True) @ v
            x = x + y.transpose(1, 0, 2).reshape(n, -1) @ a["wo"][layer].T
            y = norm(x, a["mlp_norm"][layer])
            gate = y @ a["w1"][layer].T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ a["w3"][layer].T)) @ a["w2"][layer].T
        logits: np.ndarray = norm(x, a["norm"]) @ a["head"].T
        return logits

    def _heads(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

    def greedy(self, prompt: Sequence[int], length: int) -> list[int]:
        """Continue a prompt to `length` ids, or to the id that ends a story, which is left out."""
        ids = list(prompt)
        while len(ids) < length:
            following = int(self.logits(ids)[-1].argmax())
            if following == START:
                break
            ids.append(following)
        return ids


def read_model(path: Path) -> Model:
    """Read a model.bin."""
    content = path.read_bytes()
    D, F, L, H, key_value_heads, V, T = HEADER.unpack_from(content)
    assert V < 0, "expected a head of its own"
    assert key_value_heads == H
    K, V = D // H, -V
    shapes = {"embedding": (V, D), "attention_norm": (L, D), "wq": (L, D, D), "wk": (L, D, D), "wv": (L, D, D)}
    shapes |= {"wo": (L, D, D), "mlp_norm": (L, D), "w1": (L, F, D), "w2": (L, D, F), "w3": (L, F, D), "norm": (D,)}
    shapes |= {"cos": (T, K // 2), "sin": (T, K // 2), "head": (V, D)}
    arrays, offset = {}, HEADER.size
    for name, shape in shapes.items():
        arrays[name] = np.frombuffer(content, "<f4", int(np.prod(shape)), offset).reshape(shape)
        offset += arrays[name].nbytes
    return Model(H, arrays, len(content) - offset)


def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5))


def rotate(x: np.ndarray) -> np.ndarray:
    """Rotate each pair of neighbours (2 i, 2 i + 1) of x (H, n, K) by position / 10000^(2 i / K)."""
    _, n, K = x.shape
    angle = np.outer(np.arange(n), 10_000.0 ** (-np.arange(0, K, 2) / K)).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = (even * np.cos(angle) - odd * np.sin(angle), even * np.sin(angle) + odd * np.cos(angle))
    return np.stack(rotated, -1).reshape(x.shape)


@dataclass(frozen=True)
class Vocabulary:
    """The entries of a tokenizer.bin, by id."""

    longest: int  # bytes, by the file
    pieces: list[bytes]
    scores: list[float]

    def encode(self, prompt: str) -> list[int]:
        """Return the ids of a prompt: a start and a space, then characters, or their bytes; the best pair merges."""
        ids_of = {piece: id_ for id_, piece in reversed(list(enumerate(self.pieces)))}
        ids = [START] + [ids_of[b" "]] * bool(prompt)
        for character in prompt:
            whole = character.encode()
            ids += [ids_of[whole]] if whole in ids_of else [byte + BYTES for byte in whole]
        while True:
            best, best_score = None, -1e10
            for place, (left, right) in enumerate(pairwise(ids)):
                merged = ids_of.get(self.pieces[left] + self.pieces[right])
                if merged is not None and self.scores[merged] > best_score:
                    best, best_score = (place, merged), self.scores[merged]
            if best is None:
                return ids
            ids[best[0] : best[0] + 2] = [best[1]]

    def printed(self, ids: Sequence[int]) -> bytes:
        """Return what run.c prints: without bytes that are a token by themselves and not printable."""
        shown = [self.pieces[id_] for id_ in ids]
        return b"".join(piece for piece in shown if len(piece) > 1 or 32 <= piece[0] < 127 or piece.isspace())


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """Read a tokenizer.bin of `size` entries."""
    content = path.read_bytes()
    longest, offset, pieces, scores = struct.unpack_from("<i", content)[0], 4, [], []
    for _ in range(size):
        score, length = struct.unpack_from("<fi", content, offset)
        offset += 8
        assert length > 0, "run.c reads no empty piece"
        pieces.append(content[offset : offset + length])
        scores.append(score)
        offset += length
    assert offset == len(content)
    return Vocabulary(longest, pieces, scores)
