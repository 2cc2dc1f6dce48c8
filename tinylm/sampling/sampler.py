"""Sampling of the next token: temperature, top-k and top-p (nucleus sampling).

Shapes: B stories, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 16, 128  # top-p first tries so many of the most likely ids, which is faster than sorting all


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
    V = logits.shape[1]
    if sampling.top_k is not None:
        return _draw_top(probabilities, uniforms, min(sampling.top_k, V), sampling.top_p)[0]
    if sampling.top_p is None:
        return _invert(probabilities.double().numpy(), uniforms)
    drawn, rest = np.empty(len(uniforms), np.int64), np.arange(len(uniforms))
    for count in (count for count in CANDIDATES if count < V):
        drawn[rest], enough = _draw_top(probabilities[torch.from_numpy(rest)], uniforms[rest], count, sampling.top_p)
        rest = rest[~enough]
        if not len(rest):
            return drawn
    drawn[rest] = _draw_nucleus(probabilities.numpy()[rest], uniforms[rest], sampling.top_p)
    return drawn


def draw_each(logits: Tensor, uniforms: np.ndarray, samplings: Sequence[Sampling], which: np.ndarray) -> np.ndarray:
    """Sample as `draw` does, each row with its own settings: `samplings[which[row]]`; returns ids (B,)."""
    if len(samplings) == 1:
        return draw(logits, uniforms, samplings[0])
    drawn = np.empty(len(logits), np.int64)
    for index in np.unique(which):
        rows = np.flatnonzero(which == index)
        drawn[rows] = draw(logits[torch.from_numpy(rows)], uniforms[rows], samplings[index])
    return drawn


def _draw_top(p: Tensor, uniforms: np.ndarray, count: int, top_p: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Sample from the `count` most likely ids; returns ids (B,), and whether these ids cover the nucleus (B,)."""
    values, ids = p.topk(count)  # (B, count), most likely first
    ordered = values.double().numpy()
    enough = np.ones(len(ordered), dtype=bool)
    if top_p is not None:
        enough = ordered.sum(-1) >= top_p
        _keep_nucleus(ordered, top_p)
    return ids.numpy()[np.arange(len(ordered)), _invert(ordered, uniforms)], enough


def _draw_nucleus(p: np.ndarray, uniforms: np.ndarray, top_p: float) -> np.ndarray:
    """Sample from the nucleus of p (B, V); returns ids (B,). For flat distributions, whose nucleus is large.

    Sorting the probabilities alone is several times as fast as sorting the ids by them.
    """
    values = -np.sort(-p, axis=-1)
    ordered = values.astype(np.float64)
    _keep_nucleus(ordered, top_p)
    rank = _invert(ordered, uniforms)
    drawn = values[np.arange(len(p)), rank][:, None]
    among_equals = rank - (values > drawn).sum(-1)  # equally likely ids are in the order of their numbers
    equal = p == drawn
    return ((equal.cumsum(-1) == among_equals[:, None] + 1) & equal).argmax(-1)


def _keep_nucleus(ordered: np.ndarray, top_p: float) -> None:
    """Set the probabilities (B, N), in descending order, to 0 outside the nucleus."""
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0


def _invert(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Return the index (B,) at which the normalized cumulative sum of `weights` (B, N) exceeds `uniforms` (B,)."""
    cumulative = weights.cumsum(-1)
    found = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(-1)
    return np.minimum(found, weights.shape[1] - 1)
