"""A model whose weights are sharded: each process keeps some rows of every weight.

All processes gather the weights of a block just before it computes, and drop them after it. FSDP2 does this
(`torch.distributed.fsdp.fully_shard`). A sharded weight is a DTensor, which has the shape of the whole
and whose operations are those of the whole.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from tinylm.compute.compiling import compile_function
from tinylm.model.params import ModelParams
from tinylm.model.rope import rope_table
from tinylm.model.transformer import Transformer
from tinylm.model.weight_names import Weights
from tinylm.train.setup.initial_model import initial_weights


def build_sharded(
    params: ModelParams, vocab_size: int, dtype: torch.dtype, device: torch.device, processes: int
) -> Transformer:
    """Return a model with sharded weights that are not initialized yet; all processes call this.

    Blocks are gathered in `dtype`. Embeddings, head and last norm stay in float32, as their gradients do: tokens that
    occur often add up thousands of small numbers there, which bf16 would lose. Gradients are averaged in float32.
    """
    with torch.device("meta"):
        model = Transformer(params, vocab_size, dtype)
    mesh = init_device_mesh(device.type, (processes,))
    in_blocks = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=in_blocks)
    fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
    for name in ("loss", "token_losses"):  # they gather the weights outside of blocks, as calling the model does
        register_fsdp_forward_method(model, name)
    model.to_empty(device=device)
    model.rope_cos, model.rope_sin = (table.to(device) for table in rope_table(params))
    return model


@torch.no_grad()
def initialize(model: Transformer, generator: torch.Generator) -> None:
    """Give each process its rows of the weights that `Transformer.initialize` draws in one process.

    Every process draws all of them, since a generator cannot skip; one whole weight is in memory at a time.
    """
    for name, weight in model.named_parameters():
        whole = torch.empty(weight.shape)
        model.initialize_weight(name, whole, generator)
        copy_own_rows(weight, whole)


@torch.no_grad()
def load_initial(model: Transformer, folder: Path) -> None:
    """Copy the own rows of the weights of the folder, whose file safetensors maps. Raises as `initial_weights` does."""
    weights = initial_weights(model, folder)
    for name, weight in model.named_parameters():
        copy_own_rows(weight, weights[name])


def copy_own_rows(weight: Tensor, whole: Tensor) -> None:
    """Copy the rows of this process from a whole weight on the CPU into a sharded one."""
    assert isinstance(weight, DTensor)
    mesh = weight.device_mesh
    weight.to_local().copy_(whole[rows_of(len(whole), mesh.get_local_rank(), mesh.size())])


def rows_of(rows: int, rank: int, processes: int) -> slice:
    """The rows that a process holds, as `torch.chunk` divides them: the last ones may have fewer, or none."""
    each = -(-rows // processes)
    return slice(min(rank * each, rows), min((rank + 1) * each, rows))


def gather_weights(weights: Weights, keep: bool) -> Weights:
    """Whole weights on the CPU in the process that keeps them, none in the others; all processes call this.

    One weight is on the devices as a whole at a time.
    """
    whole: Weights = {}
    for name, weight in weights.items():
        full = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if keep:
            whole[name] = full.detach().cpu()
    return whole


def compile_blocks(model: Transformer) -> None:
    """Compile what each block computes in training; gathering its weights stays outside."""
    for block in model.blocks:
        block.forward = _compiled_in_training(block)


def _compiled_in_training(block: nn.Module) -> Any:
    """Return the forward pass of a block, compiled for training only: validation has many shapes."""
    eager, compiled = block.forward, compile_function(block.forward, dynamic=False)

    def forward(*inputs: Any) -> Tensor:
        return (compiled if block.training else eager)(*inputs)

    return forward
