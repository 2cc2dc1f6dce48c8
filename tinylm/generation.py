"""Stories from a model: sampling with a KV cache.

What is drawn for a story is a pure function of (seed, number of the story, position), so that it
does not depend on what else is in the batch, or on how many stories are written at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinylm.counter_rng import uniform
from tinylm.errors import UserError
from tinylm.model import KVCache, Transformer

MOST_AT_ONCE = 64  # stories in a batch: bounds the cache's memory
CANDIDATES = 64  # likeliest ids that are looked at first, where sampling.top_p limits
COMPILED_SHAPES = 3  # lengths of the cache that a compiled step is made for


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


Step = Callable[[Tensor, KVCache], Tensor]  # one token of each story, (B, 1) ids, to (B, 1, V) logits


@torch.no_grad()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    sampling: Sampling,
    end_of_text: int,
    step: Step | None = None,
) -> Iterator[Generated]:
    """Continue each prompt (ids); `numbers` tell equal prompts apart. Stories come in the order of the prompts.

    Every story begins after an end-of-text id, as in training. It ends with one, at
    `sampling.max_tokens`, or where the model's context is full. `step` is the model's, from `compile_step`;
    without one the model is called as it is.
    """
    longest = min(sampling.max_tokens + 1, model.params.context)
    for prompt in prompts:
        if len(prompt) + 1 >= longest:
            raise UserError(
                f"a prompt of {len(prompt)} tokens leaves no room in {longest} tokens "
                "(generate.max_tokens and model.context); shorten it or raise them"
            )
    for first in range(0, len(prompts), MOST_AT_ONCE):
        batch, own = prompts[first : first + MOST_AT_ONCE], np.array(numbers[first : first + MOST_AT_ONCE])
        yield from _generate_batch(model, batch, own, sampling, end_of_text, longest, step)


def compile_step(model: Transformer, stories: int) -> Step:
    """The model compiled for `stories` at once, its weights built in. Each length of the cache takes some 10 seconds.

    Which kernels it takes depends on `stories` alone, and not on what a clock says, so that a seed goes on to
    give the same stories.
    """
    from torch._dynamo import config as dynamo_config  # a second to load
    from torch._inductor import config as inductor_config

    options: dict[str, Any] = {}
    if model.embedding.weight.device.type == "cpu":
        # For products of a matrix with a single row TorchInductor's own kernels are twice as fast as oneDNN's.
        options = {"freezing": True, "max_autotune": stories == 1, "max_autotune_gemm_backends": "CPP"}

    def step(ids: Tensor, cache: KVCache) -> Tensor:
        return model.head(model.hidden(model.embed(ids, cache), cache))

    compiled, known = torch.compile(step, dynamic=False, fullgraph=True), set()

    def begin_and_step(ids: Tensor, cache: KVCache) -> Tensor:
        cache.begin(1)
        shape = len(ids), cache.end
        if shape in known:
            return compiled(ids, cache)
        known.add(shape)
        # Not as options of torch.compile, which leave freezing undone; models and shapes share one limit.
        with inductor_config.patch(options), dynamo_config.patch(recompile_limit=64):
            return compiled(ids, cache)

    return begin_and_step


def _generate_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: np.ndarray,
    sampling: Sampling,
    end_of_text: int,
    longest: int,
    step: Step | None,
) -> Iterator[Generated]:
    """All rows stand at the same position: a longer prompt is read on while shorter ones already write.

    So that no row needs padding or a mask of its own. Without a compiled `step`, which has one number of rows,
    the rows of stories that have ended are given up when they are half of all.
    """
    device, B = model.embedding.weight.device, len(prompts)
    ids = torch.full((B, longest), end_of_text)
    for row, prompt in enumerate(prompts):
        ids[row, 1 : len(prompt) + 1] = torch.tensor(prompt, dtype=torch.long)
    begins = torch.tensor([len(prompt) + 1 for prompt in prompts])
    ends = torch.full((B,), longest)  # where each story ends
    total = torch.zeros(B, dtype=torch.float64)  # log-probability
    cache = KVCache(model, B, longest, -(-longest // COMPILED_SHAPES) if step else 1)
    stories = torch.arange(B)  # whose row is whose
    read, shortest = 0, int(begins.min())
    for position in range(shortest, longest):
        new = ids[stories, read:position].to(device)
        logits = (step if step and new.shape[1] == 1 else model)(new, cache)[:, -1].float().cpu()  # (B, V)
        drawn = draw(logits, uniform(sampling.seed, numbers[stories], position), sampling)
        writing = (begins[stories] <= position) & (position < ends[stories])
        chosen = logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(-1)
        total[stories] += torch.where(writing, chosen, 0.0)
        ids[stories, position] = torch.where(writing, drawn, ids[stories, position])
        ends[stories] = torch.where(writing & (drawn == end_of_text), position, ends[stories])
        going = ends[stories] > position
        if not going.any():
            break
        if step is None and 2 * going.sum() <= len(stories):
            cache.keep(going.nonzero()[:, 0].to(device))
            stories = stories[going]
        read = position
    for row, prompt in enumerate(prompts):
        end, begin = int(ends[row]), len(prompt) + 1
        ended = end < longest
        yield Generated(list(prompt), ids[row, begin:end].tolist(), ended, float(total[row]) / (end - begin + ended))


def draw(logits: Tensor, numbers: np.ndarray, sampling: Sampling) -> Tensor:
    """One id per row of (B, V) logits: the place of `numbers` (B,), in [0, 1), in the cumulated probabilities."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities, places = (logits / sampling.temperature).softmax(-1), torch.from_numpy(numbers)
    if sampling.top_k is None and sampling.top_p is None:
        return _at(probabilities.double(), places)
    V = logits.shape[1]
    drawn, sure = _draw_likeliest(probabilities, places, min(sampling.top_k or CANDIDATES, V), sampling)
    if not sure.all():  # a flat distribution: its row alone is looked at as a whole
        drawn[~sure], _ = _draw_likeliest(probabilities[~sure], places[~sure], V, sampling)
    return drawn


def _draw_likeliest(p: Tensor, places: Tensor, count: int, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Ids (B,) drawn from the `count` likeliest; and whether these were enough to know (B,)."""
    ordered, ids = p.topk(count)  # (B, count), likeliest first
    ordered = ordered.double()
    sum_so_far = ordered.cumsum(-1)
    enough = torch.ones(len(p), dtype=torch.bool)
    if sampling.top_p is not None:
        if sampling.top_k is None and count < p.shape[1]:
            enough = sum_so_far[:, -1] >= sampling.top_p
        ordered[sum_so_far - ordered >= sampling.top_p] = 0
    return ids.gather(1, _at(ordered, places)[:, None])[:, 0], enough


def _at(weights: Tensor, places: Tensor) -> Tensor:
    """Where `places` (B,), in [0, 1), fall in the cumulated `weights` (B, N)."""
    cumulated = weights.cumsum(-1)
    found = torch.searchsorted(cumulated, places[:, None] * cumulated[:, -1:], right=True)
    return found.clamp(max=weights.shape[1] - 1)[:, 0]
