"""Score a whole split with sliding windows: every token once, with as much context as its window has."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tinylm.model.transformer import Transformer
from tinylm.scoring.windows import plan_windows, read_windows
from tinylm.tokens.store import TokenSplit

ROWS_AT_ONCE = 512  # rows of logits; bounds the memory for large vocabularies


@dataclass(frozen=True)
class Score:
    """Scores of the tokens of a split, in the order of the split."""

    nats: NDArray[np.float32]  # (tokens,) loss
    correct: NDArray[np.bool_]  # (tokens,) whether the token is the most likely prediction
    confidence: NDArray[np.float32]  # (tokens,) probability of the most likely prediction
    position_nats: NDArray[np.float64]  # (window length,) mean loss at each position, over all windows

    @property
    def total_nats(self) -> float:
        return float(self.nats.sum(dtype=np.float64))

    @property
    def loss(self) -> float:
        """Mean loss [nats per token]."""
        return self.total_nats / len(self.nats)

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy: share of the tokens that are the most likely prediction."""
        return float(self.correct.mean())


@torch.inference_mode()
def score_split(model: Transformer, split: TokenSplit, end_of_text: int, stride: int, batch: int, bar: bool) -> Score:
    """Score all tokens of `split`, the first one after an end-of-text token; `batch` is in windows.

    Windows are as long as the context and start `stride` tokens apart. In each window, only the tokens that no earlier
    window scored count, so that after the first window all tokens have at least context - stride tokens of context.
    The loss by position averages over all tokens of all windows. `bar` shows a progress bar on a terminal.
    """
    length, device = min(model.params.context, len(split.tokens)), model.embedding.weight.device
    starts, fresh = plan_windows(len(split.tokens), length, min(stride, length))
    parts, position_nats = [], np.zeros(length)
    for first in tqdm(range(0, len(starts), batch), unit="batch", disable=None if bar else True):
        ids, targets = read_windows(split.tokens, starts[first : first + batch], length, end_of_text)
        scored = score_windows(model, ids.to(device), targets.to(device)).cpu().numpy()  # (3, B, T)
        position_nats += scored[0].sum(0, dtype=np.float64)
        parts.append(scored[:, np.arange(length) >= fresh[first : first + batch, None]])  # (3, fresh tokens)
    nats, correct, confidence = np.concatenate(parts, 1)
    return Score(nats, correct.astype(bool), confidence, position_nats / len(starts))


def score_windows(model: Transformer, ids: Tensor, targets: Tensor) -> Tensor:
    """Return (3, B, T) in float32 for ids and targets (B, T): the fields nats, correct and confidence of Score."""
    hidden = model.hidden(model.embed(ids)).flatten(0, 1)  # (B * T, D)
    rows = zip(hidden.split(ROWS_AT_ONCE), targets.flatten().split(ROWS_AT_ONCE), strict=True)
    return torch.cat([_score_rows(model.head(x).float(), target) for x, target in rows], 1).view(3, *targets.shape)


def _score_rows(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (3, R) for logits (R, V) and targets (R,)."""
    log_sum, (highest, prediction) = logits.logsumexp(-1), logits.max(-1)
    nats = log_sum - logits.gather(1, targets[:, None])[:, 0]
    return torch.stack([nats, (prediction == targets).float(), (highest - log_sum).exp()])
