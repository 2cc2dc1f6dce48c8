"""Causal self-attention with rotary positions and a KV cache, and the layers that all blocks are made of.

Shapes: B stories, T tokens, D width, H heads, K head size (D = H * K), S tokens in the cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.model.params import ModelParams

LONGEST_PLAIN_ATTENTION = 512  # tokens; beyond it the T x T weights cost more than they save
QUERIES_AT_ONCE = 256  # of plain attention
NORM_EPS = 1e-5  # what the published configurations of Llama and GPT-2 use


class KVCache:
    """Keys and values of the tokens read so far, in tensors of fixed size: (B, H, S, K) for each layer.

    With `grain` a query looks at a multiple of so many places, of which it sees its own: a step that
    is compiled then has few shapes.
    """

    def __init__(
        self, p: ModelParams, batch: int, length: int, dtype: torch.dtype, device: torch.device, grain: int = 1
    ):
        shape = (batch, p.heads, length, p.width // p.heads)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(p.layers)]
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


def rope_table(params: ModelParams) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles: (context, K / 2) each, float32."""
    head_size = params.width // params.heads
    frequency = params.rope_base ** (-torch.arange(0, head_size, 2).float() / head_size)
    angle = torch.outer(torch.arange(params.context).float(), frequency)
    return angle.cos(), angle.sin()


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
