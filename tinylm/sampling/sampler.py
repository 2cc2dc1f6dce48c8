"""The next token: temperature, top-k and top-p (nucleus sampling).

Shapes: B stories, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 64  # likeliest ids that are looked at first, where sampling.top_p limits


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the model's distribution."""

    temperature: float  # 0: the likeliest token; 1: the model's own distribution
    top_k: int | None  # draw from the k likeliest; None: from all
    top_p: float | None  # draw from the likeliest that together have this probability (Holtzman et al. 2020)
    max_tokens: int  # longest story, prompt included
    seed: int


def draw(logits: Tensor, places: np.ndarray, sampling: Sampling) -> np.ndarray:
    """One id per row of (B, V) logits: where `places` (B,), in [0, 1), fall in the cumulated probabilities."""
    if sampling.temperature == 0:
        return logits.argmax(-1).numpy()
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_k is None and sampling.top_p is None:
        return _at(probabilities.double().numpy(), places)
    V = logits.shape[1]
    drawn, sure = _draw_likeliest(probabilities, places, min(sampling.top_k or CANDIDATES, V), sampling)
    if not sure.all():  # a flat distribution: its row alone is looked at as a whole
        drawn[~sure], _ = _draw_likeliest(probabilities[torch.from_numpy(~sure)], places[~sure], V, sampling)
    return drawn


def _draw_likeliest(p: Tensor, places: np.ndarray, count: int, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Ids (B,) drawn from the `count` likeliest; and whether these were enough to know (B,)."""
    values, ids = p.topk(count)  # (B, count), likeliest first
    ordered = values.double().numpy()
    enough = np.ones(len(ordered), dtype=bool)
    if sampling.top_p is not None:
        sum_so_far = ordered.cumsum(-1)
        if sampling.top_k is None and count < p.shape[1]:
            enough = sum_so_far[:, -1] >= sampling.top_p
        ordered[sum_so_far - ordered >= sampling.top_p] = 0
    return ids.numpy()[np.arange(len(ordered)), _at(ordered, places)], enough


def _at(weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where `places` (B,), in [0, 1), fall in the cumulated `weights` (B, N)."""
    cumulated = weights.cumsum(-1)
    found = (cumulated <= places[:, None] * cumulated[:, -1:]).sum(-1)
    return np.minimum(found, weights.shape[1] - 1)
