"""Estimate of the memory that a training step takes.

The estimate counts the activations that the forward pass saves for the backward pass, and adds two constants. They
were fitted to the peaks of six models on a CPU (1 to 11 million parameters, both architectures, bf16 and fp32,
contexts of 128 to 1024); before the fit the estimates were 0.54 to 0.71 of the peak. Compiled code saves fewer
tensors. The constants were not measured on a GPU.
"""

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer

PROCESS_BYTES = 80_000_000  # workspace of the kernels, and resume checkpoints on their way to the disk
PEAK_FACTOR = 1.45  # peak / memory held: gradients of activations, and fragmentation in the allocator
WEIGHT_COPIES = 5  # the weights, their gradients, two moments, and the best weights so far


@dataclass(frozen=True)
class StepMemory:
    """What training holds in memory, apart from the bare process [bytes]."""

    weights: int
    gradients: int
    optimizer: int  # two moments of each weight; Muon keeps one, and needs the other for its update
    best: int  # the best weights so far
    activations: int  # what the forward pass saves for the backward pass, without the logits
    logits: int  # what it saves that has an entry for each entry of the vocabulary
    gathered: int = 0  # whole weights and gradients of the layers at work, if weights are sharded

    @property
    def held(self) -> int:
        kept = self.weights + self.gradients + self.optimizer + self.best
        return kept + self.activations + self.logits + self.gathered

    @property
    def total(self) -> int:
        """The peak, by the two constants."""
        return PROCESS_BYTES + round(PEAK_FACTOR * self.held)

    @property
    def workspace(self) -> int:
        """The part of the peak that the two constants add."""
        return self.total - self.held


def step_bytes(model: Transformer, sequences: int) -> int:
    """Memory that training takes with `sequences` in memory at once, apart from the bare process [bytes]."""
    return step_memory(model, sequences).total


def step_memory(model: Transformer, sequences: int) -> StepMemory:
    """Estimate the memory of training with `sequences` in memory at once.

    Counts the saved activations of one and of two sequences, and extrapolates linearly. A model on the `meta` device
    is estimated as on a GPU.
    """
    activations, logits = saved_bytes(model, 1)
    if sequences > 1:
        two = saved_bytes(model, 2)
        activations += (two[0] - activations) * (sequences - 1)
        logits += (two[1] - logits) * (sequences - 1)
    return memory_of(sum(weight.numel() for weight in model.parameters()), activations, logits)


def memory_of(parameters: int, activations: int, logits: int) -> StepMemory:
    """The memory of a model with so many parameters that saves so many bytes for the backward pass."""
    weights = 4 * parameters
    return StepMemory(weights, weights, (WEIGHT_COPIES - 3) * weights, weights, activations, logits)


def layout_memory(
    p: ModelParams,
    vocab_size: int,
    dtype: torch.dtype,
    device: str,
    sequences: int,
    processes: int = 1,
    checkpointing: bool = False,
) -> StepMemory:
    """Estimate the memory of a process that trains with `sequences` in memory at once, without building the model.

    Weights are sharded over `processes`. What a model saves is linear in its layers and in the sequences, so models of
    one and of two layers tell it, on the `device` cpu or meta; the latter is estimated as a GPU.
    """
    one, two = (_count(p.model_copy(update={"layers": layers}), vocab_size, dtype, device) for layers in (1, 2))
    shallow, deep = (_at(sequences, *model.activations) for model in (one, two))
    activations, logits = _at(p.layers, shallow, deep), _at(sequences, *one.logits)
    if checkpointing:  # the inputs of all blocks, and what one block saves when it is computed again
        activations = shallow + p.layers * sequences * p.context * p.width * dtype.itemsize
    whole = memory_of(_at(p.layers, one.parameters, two.parameters), activations, logits)
    if processes == 1:
        return whole
    block = two.parameters - one.parameters
    gathered = (4 * dtype.itemsize + 4) * block + 12 * (one.parameters - block)
    shares = {name: -(-getattr(whole, name) // processes) for name in ("weights", "gradients", "optimizer", "best")}
    return replace(whole, **shares, gathered=gathered)


@dataclass(frozen=True)
class _Counts:
    """The parameters of a model, and the bytes that it saves with one sequence and with two."""

    parameters: int
    activations: tuple[int, int]
    logits: tuple[int, int]


@functools.cache
def _count(p: ModelParams, vocab_size: int, dtype: torch.dtype, device: str) -> _Counts:
    with torch.device(device):
        model = Transformer(p, vocab_size, dtype).train()
    activations, logits = zip(*(saved_bytes(model, sequences) for sequences in (1, 2)), strict=True)
    return _Counts(model.size().parameters, activations, logits)


def _at(count: int, one: int, two: int) -> int:
    """Extrapolate what is `one` for 1 and `two` for 2."""
    return one + (two - one) * (count - 1)


def saved_bytes(model: Transformer, sequences: int) -> tuple[int, int]:
    """Bytes that the forward pass saves for the backward pass: without the logits, and of the logits.

    Each storage counts once, weights do not count.
    """
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    context = model.params.context
    saved: dict[int, tuple[bool, int]] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # Without a device, torch writes attention out; its kernels for GPUs keep no weights of (context, context).
        attention = tensor.is_meta and tensor.ndim > 2 and tensor.shape[-2:] == (context, context)
        if storage._cdata not in weights and not attention:
            saved[storage._cdata] = (tensor.shape == (ids.numel(), model.vocab_size), storage.nbytes())
        return tensor

    ids = torch.zeros((sequences, context), dtype=torch.long, device=model.embedding.weight.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # The loss keeps the graph alive: a freed storage's address could be reused, and two would count as one.
        loss = model.loss(ids, ids)  # noqa: F841
    of_logits = sum(size for is_logits, size in saved.values() if is_logits)
    return sum(size for _, size in saved.values()) - of_logits, of_logits
