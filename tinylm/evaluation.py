"""How well a model predicts a whole split: every token scored once, with as much context as the window allows."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tinylm.model import Transformer
from tinylm.tokens import TokenSplit


@dataclass(frozen=True)
class Score:
    nats: float  # sum over all tokens
    tokens: int
    text_bytes: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the stories' UTF-8 text: comparable across tokenizers, as nats per token are not.

        End-of-text ids are scored and add no bytes.
        """
        return self.nats / math.log(2) / self.text_bytes


@torch.inference_mode()
def score_split(model: Transformer, split: TokenSplit, end_of_text: int, stride: int, batch: int, bar: bool) -> Score:
    """Score all tokens of `split`; the first one follows an end-of-text id.

    Windows of the model's context go on by `stride` tokens; of each, only what no window scored before
    counts, so that all but the first have at least context - stride tokens before them.
    """
    length = min(model.params.context, len(split.tokens))
    starts, fresh = plan_windows(len(split.tokens), length, min(stride, length))
    total = 0.0
    for first in tqdm(range(0, len(starts), batch), unit="batch", disable=None if bar else True):
        ids, targets = read_windows(split.tokens, starts[first : first + batch], length, end_of_text)
        losses = model.loss(ids.to(model.embedding.weight.device), targets.to(model.embedding.weight.device), "none")
        counted = torch.arange(length) >= torch.from_numpy(fresh[first : first + batch])[:, None]  # (B, T)
        total += float(losses.cpu().double()[counted.flatten()].sum())
    return Score(total, len(split.tokens), split.info.text_bytes)


def plan_windows(tokens: int, length: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(starts of the windows, first place in each that no window before it scored).

    The last window is moved back to end with the text, so that all are whole.
    """
    count = 1 + math.ceil((tokens - length) / stride)
    starts = np.minimum(np.arange(count) * stride, tokens - length)
    scored_before = np.concatenate([[0], starts[:-1] + length])
    return starts, scored_before - starts


def read_windows(
    tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], length: int, end_of_text: int
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (windows, length): the targets are the tokens, the inputs those before them."""
    places = starts[:, None] + np.arange(-1, length)
    ids = np.where(places < 0, end_of_text, tokens[np.maximum(places, 0)]).astype(np.int64)
    return torch.from_numpy(ids[:, :-1]), torch.from_numpy(ids[:, 1:])
