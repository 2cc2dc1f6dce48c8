"""The files of llama2.c: model.bin, of its legacy version 0, and tokenizer.bin.

Its run.c (https://github.com/karpathy/llama2.c) has some of Llama's parameters written into it, and other models are
refused here. Shapes: V entries of the new vocabulary, D width, L layers, F feed-forward width, T context, K head size.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.export.interleaved_rope import interleaved
from tinylm.export.llama2c_vocabulary import Entry, entries, tokenizer_bin
from tinylm.export.source import Source
from tinylm.model.rope import rope_table
from tinylm.tokenizer.byte_level import unlike_gpt2
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS

MODEL, TOKENIZER = "model.bin", "tokenizer.bin"
FIXED = {"architecture": "llama", "qk_norm": False, "rope_base": 10_000.0, "norm_eps": 1e-5}  # section model, by run.c
NEVER_IN_UTF8 = (0xC0, 0xC1, *range(0xF5, 0x100))


def write(source: Source, _type: str, folder: Path) -> None:
    """Write model.bin, always in float32, and tokenizer.bin.

    Raises UserError if run.c cannot compute the model or imitate its tokenizer.
    """
    _check(source)
    vocabulary = entries(source)
    p = source.params
    header = p.width, p.mlp_width, p.layers, p.heads, p.heads, -len(vocabulary), p.context  # < 0: has a head of its own
    with atomic.replacing(folder / MODEL) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<7i", *header))
        for weight in _weights(source, vocabulary):
            file.write(weight.contiguous().numpy().astype("<f4").tobytes())
    with atomic.replacing(folder / TOKENIZER) as temporary:
        temporary.write_bytes(tokenizer_bin(vocabulary))


def _check(source: Source) -> None:
    for name, expected in FIXED.items():
        if (got := getattr(source.params, name)) != expected:
            value = str(expected).lower()
            raise UserError(
                f"{source.folder}: expected model.{name} = {value}, the only one that llama2.c computes, got "
                f"{str(got).lower()}; train a model with `dvc exp run --set-param model.{name}={value}`"
            )
    if (unlike := unlike_gpt2(source.tokenizer)) is not None:
        raise UserError(
            f"{source.folder}: expected a byte-level BPE tokenizer, which llama2.c can imitate, got {unlike}; train a "
            "model with `dvc exp run --set-param train_tokenizer.kind=bpe`"
        )


def _weights(source: Source, vocabulary: list[Entry]) -> Iterator[Tensor]:
    """Yield the arrays of model.bin in their order, each for all layers."""
    p, weights = source.params, source.weights
    yield torch.stack([weights["embedding.weight"][entry.read_as] for entry in vocabulary])  # (V, D)
    yield _layers(source, "attention_norm")  # (L, D)
    yield _layers(source, "attention.query", p.heads)  # (L, D, D), like the next three
    yield _layers(source, "attention.key", p.heads)
    yield _layers(source, "attention.value")
    yield _layers(source, "attention.output")
    yield _layers(source, "mlp_norm")  # (L, D)
    yield _layers(source, "mlp.gate")  # (L, F, D)
    yield _layers(source, "mlp.down")  # (L, D, F)
    yield _layers(source, "mlp.up")  # (L, F, D)
    yield weights["norm.weight"]  # (D,)
    yield from rope_table(p)  # (T, K / 2) each; run.c skips them and computes its own
    yield _head(source, vocabulary)  # (V, D)


def _layers(source: Source, name: str, interleaved_heads: int | None = None) -> Tensor:
    layers = [source.weights[f"blocks.{layer}.{name}.weight"] for layer in range(source.params.layers)]
    if interleaved_heads is not None:
        layers = [interleaved(weight, interleaved_heads) for weight in layers]
    return torch.stack(layers)


def _head(source: Source, vocabulary: list[Entry]) -> Tensor:
    """Return the output projection (V, D), in which entries that our vocabulary lacks are never the most likely.

    Without biases, no row gives low logits in every state. The mean of the rows of bytes that UTF-8 never has gives
    the mean of their logits. So it is not above the largest of them, and low, since these bytes were in no story.
    """
    head = source.weights["head.weight"]
    unused = [source.tokenizer.token_to_id(BYTE_SYMBOLS[byte]) for byte in NEVER_IN_UTF8]
    never = head[unused].mean(0)
    return torch.stack([never if entry.id is None else head[entry.id] for entry in vocabulary])
