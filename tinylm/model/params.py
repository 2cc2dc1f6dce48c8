"""Parameters of the section `model`: the architecture."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import LARGEST_CONTEXT
from tinylm.base.params import Section


class ModelParams(Section):
    name: ClassVar[str] = "model"

    architecture: Literal["llama", "gpt2"]  # llama: RMSNorm, RoPE, SwiGLU; gpt2: LayerNorm, learned positions, GELU
    layers: Annotated[int, Field(gt=0, le=1_000)]  # transformer blocks
    heads: Annotated[int, Field(gt=0, le=1_024)]  # attention heads
    width: Annotated[int, Field(gt=0, le=65_536)]  # size of the embedding and the residual stream
    mlp_width: Annotated[int, Field(gt=0, le=262_144)]  # hidden size of the feed-forward layers
    context: Annotated[int, Field(ge=32, le=LARGEST_CONTEXT)]  # longest sequence [tokens]
    dropout: Annotated[float, Field(ge=0, lt=1)]  # share of activations zeroed in training (gpt2)
    qkv_bias: bool  # bias in the query, key and value projections (gpt2)
    qk_norm: bool  # RMSNorm on queries and keys, as in Qwen3 (llama)
    tie_embeddings: bool  # one matrix for the input embedding and the output projection
    rope_base: Annotated[float, Field(gt=1, le=1e9)]  # theta of RoPE (llama)
    norm_eps: Annotated[float, Field(ge=1e-12, le=0.01)]  # added to the mean square or variance in norms

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        width, heads, llama = good.get("width"), good.get("heads"), good.get("architecture") == "llama"
        if width and heads and width % heads:
            yield "heads", f"expected a divisor of model.width = {width}, got {heads}"
        elif width and heads and llama and (width // heads) % 2:
            yield "heads", f"expected an even head size for RoPE, got {width} / {heads} = {width // heads}"
        if llama and good.get("dropout"):
            yield "dropout", f"expected 0.0 with model.architecture: llama, got {good['dropout']}"
        if llama and good.get("qkv_bias"):
            yield "qkv_bias", "expected false with model.architecture: llama, got true"
        if good.get("architecture") == "gpt2" and good.get("qk_norm"):
            yield "qk_norm", "expected false with model.architecture: gpt2, got true"
