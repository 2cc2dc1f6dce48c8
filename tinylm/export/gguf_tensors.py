"""The weights of a model as llama.cpp has them: names, order of rows, and how each is stored."""

import re
from collections.abc import Iterator

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.export.interleaved_rope import interleaved
from tinylm.export.source import Source
from tinylm.model.params import ModelParams
from tinylm.model.weight_names import to_hf

BLOCK = 32  # weights of a row that share a scale in q8_0


def architecture(p: ModelParams) -> gguf.MODEL_ARCH:
    """Return which of llama.cpp's architectures computes a model."""
    if p.architecture == "gpt2":
        return gguf.MODEL_ARCH.GPT2
    return gguf.MODEL_ARCH.QWEN3 if p.qk_norm else gguf.MODEL_ARCH.LLAMA


def tensors(source: Source, type_: Type) -> Iterator[tuple[str, np.ndarray, Type]]:
    """Yield (name, content, type) of each tensor, in the order of their names in `transformers`.

    Matrices are stored as `type_`; in q8_0, those whose rows do not divide into blocks of 32 are stored as f16. Norms,
    biases and GPT-2's positions are small and stay in f32. The converter of llama.cpp makes the same choices.

    Raises UserError if a weight is too large for its type.
    """
    p = source.params
    names = gguf.get_tensor_name_map(architecture(p), p.layers)
    for theirs, weight in sorted(to_hf(source.weights, p).items()):
        name = names.get_name(theirs, (".weight", ".bias"))
        assert name is not None, theirs
        own_type = type_
        if weight.ndim == 1 or name == "position_embd.weight":
            own_type = Type.F32
        elif type_ == Type.Q8_0 and weight.shape[1] % BLOCK:
            own_type = Type.F16
        stored = _stored(_arranged(theirs, weight, p), own_type)
        if stored is None:
            raise UserError(
                f"{source.folder}: {name}: expected weights that {own_type.name.lower()} can hold, got "
                f"{weight.abs().max():g}; export with --type f32"
            )
        yield name, stored, own_type


def _arranged(name: str, weight: Tensor, p: ModelParams) -> np.ndarray:
    """Return a weight of `transformers` with rows and columns as llama.cpp has them."""
    if re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name):
        weight = weight.T  # GPT-2 has them as (in, out)
    elif re.search(r"\.(q|k)_proj\.weight$", name) and architecture(p) == gguf.MODEL_ARCH.LLAMA:
        weight = interleaved(weight, p.heads)
    return weight.contiguous().numpy()


def _stored(weight: np.ndarray, type_: Type) -> np.ndarray | None:
    """Return the content of a tensor; None if a value is too large for the type."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = gguf.quants.quantize(weight, type_)
        fits = np.isfinite(gguf.quants.dequantize(stored, type_)).all()
    return stored if fits else None
