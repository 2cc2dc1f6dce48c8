"""The transformer, both architectures, in one file.

Shapes: B stories, T tokens, D width, H heads, K head size (D = H * K), F feed-forward width, V vocabulary,
S tokens in the cache.

Weights are kept in float32 (the optimizer's copy) or whatever `.to()` made of them; the arithmetic
runs in `compute_dtype`: every layer casts its weight to the dtype of what flows through it. That
is one rule on every device, where autocast differs between CPU and GPU.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.linear_cross_entropy import linear_cross_entropy
from tinylm.params.model import ModelParams


class KVCache:
    """Keys and values of the tokens read so far, in tensors of fixed size: (B, H, S, K) for each layer.

    With `grain` a query looks at a multiple of so many places, of which it sees its own: a step that
    is compiled then has few shapes.
    """

    def __init__(self, model: "Transformer", batch: int, length: int, grain: int = 1):
        p, device = model.params, model.embedding.weight.device
        shape = (batch, p.heads, length, p.width // p.heads)
        self.keys = [torch.zeros(shape, dtype=model.compute_dtype, device=device) for _ in range(p.layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.grain, self.length = grain, 0
        self.begin(0)

    def begin(self, tokens: int) -> None:
        """Make ready to read so many tokens behind those read before."""
        device, size = self.keys[0].device, self.keys[0].shape[2]
        first, self.length = self.length, self.length + tokens
        self.places = torch.arange(first, self.length, device=device)  # (T,) where they go
        self.end = min(-(-self.length // self.grain) * self.grain, size)  # what queries look at ends here
        self.mask: Tensor | None = None  # (T, end); None: a query sees all, or the plain triangle where first is 0
        if (first and tokens > 1) or self.grain > 1:
            self.mask = torch.arange(self.end, device=device) <= self.places[:, None]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H, T, K) behind what `layer` holds; give what queries look at."""
        self.keys[layer].index_copy_(2, self.places, key)
        self.values[layer].index_copy_(2, self.places, value)
        return self.keys[layer][:, :, : self.end], self.values[layer][:, :, : self.end]

    def keep(self, rows: Tensor) -> None:
        """Forget all rows of the batch but these."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), NORM_EPS)


class LayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


LONGEST_PLAIN_ATTENTION = 512  # tokens; beyond it the T x T weights cost more than they save
QUERIES_AT_ONCE = 256  # of plain attention
NORM_EPS = 1e-5  # what the published configurations of Llama and GPT-2 use


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), halves paired as Llama's code does it.

    x: (B, H, T, K); cos, sin: (T, K / 2).
    """
    first, second = x.chunk(2, dim=-1)  # (B, H, T, K / 2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, p: ModelParams, layer: int):
        super().__init__()
        gpt2 = p.architecture == "gpt2"
        self.layer, self.heads, self.dropout = layer, p.heads, p.dropout
        self.query = Linear(p.width, p.width, bias=p.qkv_bias)
        self.key = Linear(p.width, p.width, bias=p.qkv_bias)
        self.value = Linear(p.width, p.width, bias=p.qkv_bias)
        self.output = Linear(p.width, p.width, bias=gpt2)
        head_size = p.width // p.heads
        self.query_norm = RMSNorm(head_size) if p.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(head_size) if p.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        B, T, D = x.shape
        q, k, v = (f(x).view(B, T, self.heads, -1) for f in (self.query, self.key, self.value))  # (B, T, H, K)
        q, k = self.query_norm(q), self.key_norm(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, H, T, K)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, H, S, K)
        dropout = self.dropout if self.training else 0.0
        on_cpu, mask = x.device.type == "cpu", cache.mask if cache is not None else None
        if self.training and on_cpu and T <= LONGEST_PLAIN_ATTENTION:
            y = plain_attention(q, k, v, dropout)  # (B, H, T, K)
        elif T == 1 and on_cpu and q.dtype == torch.bfloat16:
            y = one_query_attention(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=T > 1 and mask is None)
        y = y.transpose(1, 2).reshape(B, T, D)
        return F.dropout(self.output(y), dropout)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Causal attention written out, (B, H, T, K) each: forward and backward, it is what a CPU is fastest at.

    A block of queries at a time, so that most of what no query sees is not computed. The weights
    are divided by their sum after they have met the values, which saves a pass over them.
    """
    T, parts = q.shape[2], []
    mask = torch.full((T, T), float("-inf"), device=q.device).triu(1)
    for start in range(0, T, QUERIES_AT_ONCE):
        end = min(start + QUERIES_AT_ONCE, T)
        scores = (q[:, :, start:end] @ k[:, :, :end].transpose(-1, -2)).float() * q.shape[-1] ** -0.5  # (B, H, t, end)
        scores = scores + mask[start:end, :end]
        weights = (scores - scores.detach().amax(-1, keepdim=True)).exp()
        y = F.dropout(weights, dropout).to(q.dtype) @ v[:, :, :end]  # (B, H, t, K)
        parts.append(y / weights.sum(-1, keepdim=True).to(q.dtype))
    return torch.cat(parts, 2)


def one_query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of q (B, H, 1, K) to k, v (B, H, S, K), element by element in float32.

    In bfloat16, products of a matrix with one row are slow on CPUs.
    """
    scores = (q.float() * k).sum(-1) * q.shape[-1] ** -0.5  # (B, H, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1)[..., None] * v).sum(2, keepdim=True).to(q.dtype)


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
    """GPT-2's feed-forward layer, with the tanh form of GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""

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
        self.attention_norm = norm(p.width)
        self.attention = Attention(p, layer)
        self.mlp_norm = norm(p.width)
        self.mlp = GELU(p) if p.architecture == "gpt2" else SwiGLU(p)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, cache)
        return x + self.mlp(self.mlp_norm(x))  # (B, T, D)


@dataclass(frozen=True)
class ModelSize:
    """What is told of a model's size; megabytes are 10^6 bytes."""

    parameters: int

    @property
    def megabytes_fp32(self) -> float:
        return self.parameters * 4 / 1e6

    @property
    def megabytes_bf16(self) -> float:
        return self.parameters * 2 / 1e6


class Transformer(nn.Module):
    """Decoder-only language model: ids (B, T) to logits (B, T, V).

    `params.context` is the longest window; a longer one raises ValueError. Weights are drawn from
    `generator` alone, so that a seed gives the same model whatever ran before.
    """

    def __init__(self, params: ModelParams, vocab_size: int, compute_dtype: torch.dtype = torch.float32):
        super().__init__()
        self.params, self.vocab_size, self.compute_dtype = params, vocab_size, compute_dtype
        gpt2 = params.architecture == "gpt2"
        self.embedding = nn.Embedding(vocab_size, params.width)
        self.positions = nn.Embedding(params.context, params.width) if gpt2 else None
        self.blocks = nn.ModuleList(Block(params, layer) for layer in range(params.layers))
        self.norm = LayerNorm(params.width) if gpt2 else RMSNorm(params.width)
        self.head = Linear(params.width, vocab_size, bias=False)
        if params.tie_embeddings:
            self.head.weight = self.embedding.weight
        cos, sin = rope_table(params)
        self.rope_cos: Tensor
        self.rope_sin: Tensor
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """With a cache, `ids` go on from what the cache holds, and are stored in it."""
        end = ids.shape[1] + (cache.length if cache is not None else 0)
        if end > self.params.context:
            raise ValueError(f"expected at most {self.params.context} tokens (model.context), got {end}")
        if cache is not None:
            cache.begin(ids.shape[1])
        return self.head(self.hidden(self.embed(ids, cache), cache))  # (B, T, V)

    def hidden(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """What the output projection reads, (B, T, D), of embedded ids (B, T, D)."""
        rope = None
        if self.positions is None:
            places = cache.places if cache is not None else slice(x.shape[1])
            rope = self.rope_cos[places].to(x.dtype), self.rope_sin[places].to(x.dtype)
        for block in self.blocks:
            x = block(x, rope, cache)
        return self.norm(x)

    def embed(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Ids (B, T) to vectors (B, T, D)."""
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions.weight[cache.places if cache is not None else slice(ids.shape[1])]
        return F.dropout(x, self.params.dropout if self.training else 0.0).to(self.compute_dtype)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of `targets` (B, T) in nats, a scalar in float32."""
        return self.loss_of(self.embed(ids), targets)

    def loss_of(self, x: Tensor, targets: Tensor) -> Tensor:
        """The loss of embedded ids (B, T, D).

        It is this part of a training step that is compiled: TorchInductor adds up an embedding's gradient with
        atomic additions, whose order, and so whose last bits, change from run to run.
        """
        x, targets = self.hidden(x).flatten(0, 1), targets.flatten()
        if x.device.type == "cpu":
            return linear_cross_entropy(x, self.head.weight, targets)
        return F.cross_entropy(self.head(x).float(), targets)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """GPT-2's recipe: normal of 0.02, what adds to the residual stream smaller by the root of 2 x layers."""
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("attention.output.weight", "mlp.down.weight"))
                std = 0.02 / math.sqrt(2 * self.params.layers) if residual else 0.02
                weight.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
            else:
                weight.fill_(1.0)

    def size(self) -> ModelSize:
        return ModelSize(sum(weight.numel() for weight in self.parameters()))


def rope_table(params: ModelParams) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles: (context, K / 2) each, float32."""
    head_size = params.width // params.heads
    frequency = params.rope_base ** (-torch.arange(0, head_size, 2).float() / head_size)
    angle = torch.outer(torch.arange(params.context).float(), frequency)
    return angle.cos(), angle.sin()
