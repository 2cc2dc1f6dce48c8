"""Causal self-attention, with the fastest implementation for the device and for training or inference.

Shapes: B stories, T tokens, D width, H heads, K head size (D = H * K), S tokens in the cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.compute.device import bf16_units
from tinylm.model.flash_attention import flash_attention
from tinylm.model.kv_cache import KVCache
from tinylm.model.layers import Linear, RMSNorm
from tinylm.model.params import ModelParams
from tinylm.model.rope import rotate

LONGEST_PLAIN_ATTENTION = 512  # tokens; for longer sequences the T x T weights cost more than they save
HAS_AMX = "AMX" in bf16_units()
QUERIES_AT_ONCE = 256  # queries per block of plain attention


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
        self.query_norm = RMSNorm(head_size, p.norm_eps) if p.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(head_size, p.norm_eps) if p.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        """Map x (B, T, D) to (B, T, D). `rope` holds cosines and sines, (T, K / 2) each; a cache is updated."""
        B, T, D = x.shape
        q, k, v = (f(x).view(B, T, self.heads, -1) for f in (self.query, self.key, self.value))  # (B, T, H, K)
        q, k = self.query_norm(q), self.key_norm(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, H, T, K)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, H, S, K)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, cache.mask if cache is not None else None, dropout, self.training)  # (B, H, T, K)
        y = y.transpose(1, 2).reshape(B, T, D)
        return F.dropout(self.output(y), dropout)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, training: bool) -> Tensor:
    """Compute causal attention of q (B, H, T, K) to k, v (B, H, S, K), with the fastest kernel; returns (B, H, T, K).

    `mask` (T, S), from the cache, is True where a query may attend. Without it, a single query attends to
    everything, and several queries attend causally.
    """
    T = q.shape[2]
    kind = training_attention(q.device.type, q.dtype, T, dropout) if training else "torch"
    if kind == "plain":
        return plain_attention(q, k, v, dropout)
    if kind == "flash":
        return flash_attention(q, k, v)
    if T == 1 and not training:
        return one_query_attention(q, k, v, mask)
    if k.stride(-1) != 1:  # from the cache, which is laid out for a single query
        k = k.contiguous()
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=T > 1 and mask is None)


def training_attention(device: str, dtype: torch.dtype, T: int, dropout: float) -> str:
    """Return which implementation trains fastest on sequences of T tokens: plain, flash or torch's own.

    Flash needs matrix units: with them its products are so fast that the passes over the T x T weights, which it
    saves, take most of the time; on other CPUs all three differ by 2 to 3% of a training step. Chosen by the
    processor and not by a measurement, so that equal runs on equal machines give equal bits.
    """
    if device != "cpu":
        return "torch"
    if HAS_AMX and dtype == torch.bfloat16 and dropout == 0:
        return "flash"
    return "plain" if T <= LONGEST_PLAIN_ATTENTION else "torch"


def plain_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Causal attention written out, all (B, H, T, K): the fastest forward and backward pass on most CPUs.

    Works on blocks of queries, which skips most of the masked scores. Normalizes the output instead of the
    weights, which saves a pass over the weights.
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
    """Attention of one query, q (B, H, 1, K), to k, v (B, H, S, K), faster than torch's kernel on a CPU."""
    scores = (q * q.shape[-1] ** -0.5 @ k.mT).float()  # (B, H, 1, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).to(q.dtype) @ v
