"""How well a model predicts a whole split: every token scored once, with as much context as the window allows."""

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

ROWS_AT_ONCE = 512  # of logits: bounds the memory where the vocabulary is large


@dataclass(frozen=True)
class Score:
    """What the model made of each token of a split, in the split's order."""

    nats: NDArray[np.float32]  # (tokens,) the token's loss
    correct: NDArray[np.bool_]  # (tokens,) whether it was the likeliest one
    confidence: NDArray[np.float32]  # (tokens,) probability of the likeliest one
    position_nats: NDArray[np.float64]  # (context,) mean loss at each place of the window, over all windows

    @property
    def total_nats(self) -> float:
        return float(self.nats.sum(dtype=np.float64))

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.total_nats / len(self.nats)

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    @property
    def accuracy(self) -> float:
        """Share of the tokens that were the likeliest one (top-1)."""
        return float(self.correct.mean())


@torch.inference_mode()
def score_split(model: Transformer, split: TokenSplit, end_of_text: int, stride: int, batch: int, bar: bool) -> Score:
    """Score all tokens of `split`; the first one follows an end-of-text id.

    Windows of the model's context go on by `stride` tokens; of each, only what no window scored before
    counts, so that all but the first have at least context - stride tokens before them. The loss by position
    is over all of each window.
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
    """(3, B, T) in float32: nats of the targets (B, T), whether each was the likeliest, the likeliest one's share."""
    hidden = model.hidden(model.embed(ids)).flatten(0, 1)  # (B * T, D)
    rows = zip(hidden.split(ROWS_AT_ONCE), targets.flatten().split(ROWS_AT_ONCE), strict=True)
    return torch.cat([_score_rows(model.head(x).float(), target) for x, target in rows], 1).view(3, *targets.shape)


def _score_rows(logits: Tensor, targets: Tensor) -> Tensor:
    log_sum, (highest, likeliest) = logits.logsumexp(-1), logits.max(-1)
    nats = log_sum - logits.gather(1, targets[:, None])[:, 0]
    return torch.stack([nats, (likeliest == targets).float(), (highest - log_sum).exp()])
