"""Estimate of the memory that a training step takes.

The estimate counts the activations that the forward pass saves for the backward pass, and adds two constants. They
were fitted to the peaks of six models on a CPU (1 to 11 million parameters, both architectures, bf16 and fp32,
contexts of 128 to 1024); before the fit the estimates were 0.54 to 0.71 of the peak. Compiled code saves fewer
tensors. The constants were not measured on a GPU.
"""

import torch
from torch import Tensor

from tinylm.model.transformer import Transformer

PROCESS_BYTES = 80_000_000  # workspace of the kernels, and resume checkpoints on their way to the disk
PEAK_FACTOR = 1.45  # peak / memory held: gradients of activations, and fragmentation in the allocator
WEIGHT_COPIES = 5  # the weights, their gradients, two moments, and the best weights so far


def step_bytes(model: Transformer, sequences: int) -> int:
    """Memory that training takes with `sequences` in memory at once, apart from the bare process [bytes].

    Counts the saved activations of one and of two sequences, and extrapolates linearly.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    saved = _saved_bytes(model, 1)
    if sequences > 1:
        saved += (_saved_bytes(model, 2) - saved) * (sequences - 1)
    held = WEIGHT_COPIES * 4 * weights + saved
    return PROCESS_BYTES + round(PEAK_FACTOR * held)


def _saved_bytes(model: Transformer, sequences: int) -> int:
    """Bytes that the forward pass saves for the backward pass; each storage counts once, weights do not count."""
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    ids = torch.zeros((sequences, model.params.context), dtype=torch.long, device=model.embedding.weight.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # The loss keeps the graph alive: a freed storage's address could be reused, and two would count as one.
        loss = model.loss(ids, ids)  # noqa: F841
    return sum(saved.values())
