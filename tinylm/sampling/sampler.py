"""Sampling of the next token: temperature, top-k and top-p (nucleus sampling).

Shapes: B stories, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 64  # top-p first tries this many of the most likely ids, which is faster than sorting all


@dataclass(frozen=True)
class Sampling:
    """Settings for sampling from the model's distribution."""

    temperature: float  # 0: greedy; 1: the model's own distribution
    top_k: int | None  # sample from the k most likely tokens; None: no limit
    top_p: float | None  # nucleus of this total probability (Holtzman et al. 2020, arXiv:1904.09751); None: no limit
    max_tokens: int  # longest story, prompt included [tokens]
    seed: int


def draw(logits: Tensor, uniforms: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Sample one id per row of logits (B, V) by inverse transform of `uniforms` (B,) in [0, 1); returns (B,)."""
    if sampling.temperature == 0:
        return logits.argmax(-1).numpy()
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_k is None and sampling.top_p is None:
        return _invert(probabilities.double().numpy(), uniforms)
    V = logits.shape[1]
    drawn, enough = _draw_top(probabilities, uniforms, min(sampling.top_k or CANDIDATES, V), sampling)
    if not enough.all():  # flat distributions: sort the whole vocabulary, for these rows only
        drawn[~enough], _ = _draw_top(probabilities[torch.from_numpy(~enough)], uniforms[~enough], V, sampling)
    return drawn


def _draw_top(p: Tensor, uniforms: np.ndarray, count: int, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Sample from the `count` most likely ids; returns ids (B,), and whether these ids cover the nucleus (B,)."""
    values, ids = p.topk(count)  # (B, count), most likely first
    ordered = values.double().numpy()
    enough = np.ones(len(ordered), dtype=bool)
    if sampling.top_p is not None:
        cumulative = ordered.cumsum(-1)
        if sampling.top_k is None and count < p.shape[1]:
            enough = cumulative[:, -1] >= sampling.top_p
        ordered[cumulative - ordered >= sampling.top_p] = 0
    return ids.numpy()[np.arange(len(ordered)), _invert(ordered, uniforms)], enough


def _invert(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Return the index (B,) at which the normalized cumulative sum of `weights` (B, N) exceeds `uniforms` (B,)."""
    cumulative = weights.cumsum(-1)
    found = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(-1)
    return np.minimum(found, weights.shape[1] - 1)
