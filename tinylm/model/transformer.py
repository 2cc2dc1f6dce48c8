"""The transformer, in both architectures; attention is in attention.py.

Shapes: B stories, T tokens, D width, F feed-forward width, V vocabulary.

The optimizer updates float32 weights; inference may convert them with `.to()`. Arithmetic runs in `compute_dtype`:
every layer casts its weight to the dtype of its input. This rule is the same on every device, whereas autocast
differs between CPU and GPU.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tinylm.model.attention import Attention
from tinylm.model.kv_cache import KVCache
from tinylm.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from tinylm.model.linear_cross_entropy import linear_cross_entropies, linear_cross_entropy
from tinylm.model.params import ModelParams
from tinylm.model.rope import rope_table


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, p: ModelParams):
        super().__init__()
        self.gate = Linear(p.width, p.mlp_width, bias=False)
        self.up = Linear(p.width, p.mlp_width, bias=False)
        self.down = Linear(p.mlp_width, p.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # (B, T, F) inside


class GELU(nn.Module):
    """GPT-2's feed-forward layer, with the tanh approximation of GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""

    def __init__(self, p: ModelParams):
        super().__init__()
        self.up = Linear(p.width, p.mlp_width)
        self.down = Linear(p.mlp_width, p.width)
        self.dropout = p.dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.gelu(self.up(x), approximate="tanh"))
        return F.dropout(y, self.dropout if self.training else 0.0)


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward."""

    def __init__(self, p: ModelParams, layer: int):
        super().__init__()
        norm = LayerNorm if p.architecture == "gpt2" else RMSNorm
        self.attention_norm = norm(p.width, p.norm_eps)
        self.attention = Attention(p, layer)
        self.mlp_norm = norm(p.width, p.norm_eps)
        self.mlp = GELU(p) if p.architecture == "gpt2" else SwiGLU(p)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, cache)
        return x + self.mlp(self.mlp_norm(x))  # (B, T, D)


@dataclass(frozen=True)
class ModelSize:
    """The size of a model; a megabyte is 10^6 bytes."""

    parameters: int

    @property
    def megabytes_fp32(self) -> float:
        return self.parameters * 4 / 1e6

    @property
    def megabytes_bf16(self) -> float:
        return self.parameters * 2 / 1e6


class Transformer(nn.Module):
    """Decoder-only language model: ids (B, T) to logits (B, T, V).

    `params.context` is the length of the longest sequence [tokens]. With `checkpointing`, training keeps only the input
    of each block for the backward pass, which computes the rest again (activation checkpointing, Chen et al. 2016,
    arXiv:1604.06174).
    """

    checkpointing = False

    def __init__(self, params: ModelParams, vocab_size: int, compute_dtype: torch.dtype = torch.float32):
        super().__init__()
        self.params, self.vocab_size, self.compute_dtype = params, vocab_size, compute_dtype
        gpt2 = params.architecture == "gpt2"
        self.embedding = Embedding(vocab_size, params.width)
        self.positions = Embedding(params.context, params.width) if gpt2 else None
        self.blocks = nn.ModuleList(Block(params, layer) for layer in range(params.layers))
        self.norm = (LayerNorm if gpt2 else RMSNorm)(params.width, params.norm_eps)
        self.head = Linear(params.width, vocab_size, bias=False)
        if params.tie_embeddings:
            self.head.weight = self.embedding.weight
        cos, sin = rope_table(params)
        self.rope_cos: Tensor
        self.rope_sin: Tensor
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the logits (B, T, V) of ids (B, T). With a cache, ids continue the cached tokens and are added to it.

        Raises ValueError if the sequence, cached tokens included, is longer than the context.
        """
        end = ids.shape[1] + (cache.length if cache is not None else 0)
        if end > self.params.context:
            raise ValueError(f"expected at most {self.params.context} tokens (model.context), got {end}")
        if cache is not None:
            cache.reserve(ids.shape[1])
        return self.head(self.hidden(self.embed(ids, cache), cache))  # (B, T, V)

    def next_logits(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Return the logits (B, V) of the tokens after ids (B, T), which are added to the cache.

        The caller has called `cache.reserve(T)`, within the context.
        """
        return self.head(self.hidden(self.embed(ids, cache), cache)[:, -1])

    def cache(self, batch: int, length: int, granularity: int = 1) -> KVCache:
        """Return an empty cache for `batch` stories of at most `length` tokens; `granularity` as in KVCache."""
        return KVCache(self.params, batch, length, self.compute_dtype, self.embedding.weight.device, granularity)

    def hidden(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the input of the output projection, (B, T, D), for embedded ids (B, T, D)."""
        rope = None
        if self.positions is None:
            positions = cache.positions if cache is not None else slice(x.shape[1])
            rope = self.rope_cos[positions].to(x.dtype), self.rope_sin[positions].to(x.dtype)
        for block in self.blocks:
            if self.checkpointing and self.training:
                x = checkpoint(block, x, rope, cache, use_reentrant=False)
            else:
                x = block(x, rope, cache)
        return self.norm(x)

    def embed(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Embed ids (B, T), with positions and dropout where the model has them; returns (B, T, D) in compute_dtype."""
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions.weight[cache.positions if cache is not None else slice(ids.shape[1])]
        return F.dropout(x, self.params.dropout if self.training else 0.0).to(self.compute_dtype)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of `targets` (B, T) given ids (B, T), in nats, a float32 scalar."""
        return self.loss_of(self.embed(ids), targets)

    def loss_of(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of embedded ids (B, T, D), as `loss` does.

        Training compiles this method without the embedding: TorchInductor accumulates embedding gradients with atomic
        additions, whose order, and so the last bits of the result, vary from run to run.
        """
        x, targets = self.hidden(x).flatten(0, 1), targets.flatten()
        if x.device.type == "cpu":
            return linear_cross_entropy(x, self.head.weight, targets)
        return F.cross_entropy(self.head(x).float(), targets)

    def token_losses(self, ids: Tensor, targets: Tensor, tokens: Tensor) -> Tensor:
        """Return the cross-entropy of some of the targets, in nats and float32; for use without gradients.

        ids, targets: (B, T); `tokens` (N,) are indices into the flattened targets. Returns (N,).
        """
        hidden = self.hidden(self.embed(ids)).flatten(0, 1)[tokens]
        return linear_cross_entropies(hidden, self.head.weight.to(hidden.dtype), targets.flatten()[tokens])

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Initialize as GPT-2: std 0.02, divided by sqrt(2 x layers) for projections into the residual stream.

        Draws from `generator` alone, so that a seed gives the same model whatever ran before.
        """
        for name, weight in self.named_parameters():
            self.initialize_weight(name, weight, generator)

    def initialize_weight(self, name: str, weight: Tensor, generator: torch.Generator) -> None:
        """Initialize `weight`, of the parameter `name`; `initialize` does so in the order of the parameters."""
        if weight.ndim == 2:
            residual = name.endswith(("attention.output.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * self.params.layers) if residual else 0.02
            weight.normal_(0.0, std, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()
        else:
            weight.fill_(1.0)

    def size(self) -> ModelSize:
        """Count the parameters; shared weights count once."""
        return ModelSize(sum(weight.numel() for weight in self.parameters()))


def training_flop_per_token(p: ModelParams, parameters: int) -> int:
    """Return the training FLOP per token, by the formula of Chowdhery et al. 2022 (arXiv:2204.02311, appendix B).

    6 per parameter, plus 12 x layers x width x context for attention (all pairs, although half are masked). As in
    the paper, an untied input embedding counts too, although it is a lookup and not a matmul.
    """
    return 6 * parameters + 12 * p.layers * p.width * p.context
