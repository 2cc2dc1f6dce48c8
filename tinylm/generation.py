"""Stories from a model: sampling with a KV cache.

What is drawn for a story is a pure function of (seed, number of the story, position), so that it
does not depend on what else is in the batch, or on how many stories are written at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinylm.counter_rng import uniform
from tinylm.errors import UserError
from tinylm.model import KVCache, Transformer

MOST_AT_ONCE = 64  # stories in a batch: bounds the cache's memory


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the model's distribution."""

    temperature: float  # 0: the likeliest token; 1: the model's own distribution
    top_k: int | None  # draw from the k likeliest; None: from all
    top_p: float | None  # draw from the likeliest that together have this probability (Holtzman et al. 2020)
    max_tokens: int  # longest story, prompt included
    seed: int


@dataclass(frozen=True)
class Generated:
    """One story as ids, without the end-of-text marks around it."""

    prompt: list[int]
    continuation: list[int]
    ended: bool  # whether it came to its end-of-text by itself
    log_probability: float  # mean over what was drawn, at temperature 1 [nats per token]


@torch.inference_mode()
def generate(
    model: Transformer, prompts: Sequence[Sequence[int]], numbers: Sequence[int], sampling: Sampling, end_of_text: int
) -> Iterator[Generated]:
    """Continue each prompt (ids); `numbers` tell equal prompts apart. Stories come in the order of the prompts.

    Every story begins after an end-of-text id, as in training. It ends with one, at
    `sampling.max_tokens`, or where the model's context is full.
    """
    longest = min(sampling.max_tokens + 1, model.params.context)
    for prompt in prompts:
        if len(prompt) + 1 >= longest:
            raise UserError(
                f"a prompt of {len(prompt)} tokens leaves no room in {longest} tokens "
                "(generate.max_tokens and model.context); shorten it or raise them"
            )
    for first in range(0, len(prompts), MOST_AT_ONCE):
        batch = slice(first, first + MOST_AT_ONCE)
        yield from _generate_batch(model, prompts[batch], np.array(numbers[batch]), sampling, end_of_text, longest)


def _generate_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: np.ndarray,
    sampling: Sampling,
    end_of_text: int,
    longest: int,
) -> Iterator[Generated]:
    """All rows stand at the same position: a longer prompt is read on while shorter ones already write.

    So that no row needs padding or a mask of its own.
    """
    device = model.embedding.weight.device
    B, shortest = len(prompts), min(map(len, prompts)) + 1
    ids = torch.full((B, longest), end_of_text)
    for row, prompt in enumerate(prompts):
        ids[row, 1 : len(prompt) + 1] = torch.tensor(prompt, dtype=torch.long)
    prompt_ends = torch.tensor([len(prompt) + 1 for prompt in prompts])
    ends = torch.full((B,), longest)  # where each story ends
    total, cache = torch.zeros(B), KVCache(model, B, longest)
    step = ids[:, :shortest]
    for position in range(shortest, longest):
        logits = model(step.to(device), cache)[:, -1].float().cpu()  # (B, V)
        drawn = draw(logits, uniform(sampling.seed, numbers, position), sampling)
        writing = (prompt_ends <= position) & (position < ends)
        total += torch.where(writing, logits.log_softmax(-1).gather(1, drawn[:, None])[:, 0], 0.0)
        ids[:, position] = torch.where(writing, drawn, ids[:, position])
        ends = torch.where(writing & (drawn == end_of_text), position, ends)
        if (ends <= position).all():
            break
        step = ids[:, position : position + 1]
    for row, prompt in enumerate(prompts):
        end, begin = int(ends[row]), len(prompt) + 1
        ended = end < longest
        yield Generated(list(prompt), ids[row, begin:end].tolist(), ended, float(total[row]) / (end - begin + ended))


def draw(logits: Tensor, numbers: np.ndarray, sampling: Sampling) -> Tensor:
    """One id per row of (B, V) logits: the place of `numbers` (B,), in [0, 1), in the cumulated probabilities."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits / sampling.temperature).softmax(-1).double()
    ordered, ids = probabilities.sort(descending=True, stable=True)  # (B, V)
    before = ordered.cumsum(-1) - ordered  # probability of all likelier ids
    if sampling.top_k is not None:
        ordered[:, sampling.top_k :] = 0
    if sampling.top_p is not None:
        ordered[before >= sampling.top_p] = 0
    cumulated = ordered.cumsum(-1)
    places = torch.searchsorted(cumulated, torch.from_numpy(numbers)[:, None] * cumulated[:, -1:], right=True)
    return ids.gather(1, places.clamp(max=ids.shape[1] - 1))[:, 0]
