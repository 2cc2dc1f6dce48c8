"""The memory that a training step will take.

The estimate counts the activations that the forward pass saves for the backward pass, and adds two constants. They
were fitted to the peaks of six models on a CPU (1 to 11 million parameters, both architectures, bf16 and fp32,
contexts of 128 to 1024), whose estimates were 0.54 to 0.71 of the peak before. Compiled code saves fewer tensors;
nothing was measured on a GPU.
"""

import torch
from torch import Tensor

from tinylm.model.transformer import Transformer

PROCESS = 80_000_000  # bytes: kernels' own memory, and states on their way to the disk
ON_THE_WAY = 1.45  # times what is held, at the peak: gradients of activations, and what the allocator has between them
HELD = 5  # times the weights: they themselves, gradients, two moments, and the best weights so far


def step_bytes(model: Transformer, sequences: int) -> int:
    """What training takes with so many sequences in memory at once, beside the process itself [bytes].

    One sequence and two are sent forward, and what is kept for the way back is counted; the rest is that of more.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    kept = _kept_bytes(model, 1)
    if sequences > 1:
        kept += (_kept_bytes(model, 2) - kept) * (sequences - 1)
    held = HELD * 4 * weights + kept
    return PROCESS + round(ON_THE_WAY * held)


def _kept_bytes(model: Transformer, sequences: int) -> int:
    """Of the tensors that the way forward keeps for the way back, each storage once, weights left out."""
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    ids = torch.zeros((sequences, model.params.context), dtype=torch.long, device=model.embedding.weight.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model.loss(ids, ids)  # noqa: F841 - it holds what was kept, or storages would be counted that came after
    return sum(kept.values())
