"""How many parameters a model has, by part.

They are linear in the number of layers, so models of one and of two layers tell them, and none is allocated.
"""

import functools
from dataclasses import dataclass

import torch

from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.train.optim.optimizers import split_weights


@dataclass(frozen=True)
class Parameters:
    """The parameters of a model. A matrix that the embedding and the head share is the embedding's."""

    embedding: int  # tokens, and positions where they are learned
    blocks: int  # with the norms, the last one included
    head: int

    @property
    def total(self) -> int:
        return self.embedding + self.blocks + self.head


def count_parameters(p: ModelParams, vocab_size: int) -> Parameters:
    """Count the parameters of a model."""
    one, two = (_count(_with_layers(p, layers), vocab_size) for layers in (1, 2))
    return Parameters(one.embedding, _at(p.layers, one.blocks, two.blocks), one.head)


@functools.cache
def count_in_blocks(p: ModelParams, vocab_size: int) -> tuple[int, int]:
    """Count the parameters in blocks: all, and those of matrices that Muon updates."""
    model = _without_memory(_with_layers(p, 1), vocab_size)
    hidden, *_ = split_weights(model)
    block = sum(weight.numel() for weight in model.blocks.parameters())
    return p.layers * block, p.layers * sum(weight.numel() for weight in hidden)


@functools.cache
def _count(p: ModelParams, vocab_size: int) -> Parameters:
    model = _without_memory(p, vocab_size)
    embedding = model.embedding.weight.numel() + (model.positions.weight.numel() if model.positions is not None else 0)
    head = 0 if p.tie_embeddings else model.head.weight.numel()
    return Parameters(embedding, model.size().parameters - embedding - head, head)


def _without_memory(p: ModelParams, vocab_size: int) -> Transformer:
    """Return a model whose tensors have shapes and no memory."""
    with torch.device("meta"):
        return Transformer(p, vocab_size)


def _with_layers(p: ModelParams, layers: int) -> ModelParams:
    return p.model_copy(update={"layers": layers})


def _at(count: int, one: int, two: int) -> int:
    """Extrapolate what is `one` for 1 and `two` for 2."""
    return one + (two - one) * (count - 1)
