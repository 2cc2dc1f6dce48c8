"""Generate stories with a KV cache.

The random number behind each token is a pure function of (seed, story number, position), so that a story does not
depend on the batch it is generated in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.compute.compiling import compile_function
from tinylm.compute.counter_rng import uniform
from tinylm.model.kv_cache import KVCache, bytes_per_token
from tinylm.model.transformer import Transformer
from tinylm.sampling.sampler import Sampling, draw_each

MAX_BATCH = 512  # stories; bounds the memory of the logits
CACHE_BYTES = 512 << 20  # of a batch's keys and values; bounds the number of stories too
DROPPED_AT_ONCE = 1 / 8  # share of the rows that have ended when they are dropped from the cache
COMPILED_SHAPES = 3  # cache lengths that a decoding step is compiled for


@dataclass(frozen=True)
class Generated:
    """One story as ids, without the end-of-text tokens around it."""

    prompt: list[int]
    continuation: list[int]
    ended: bool  # whether it reached end-of-text
    log_probability: float  # mean over the sampled tokens, at temperature 1 [nats per token]


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    samplings: Sequence[Sampling],
    end_of_text: int,
) -> Iterator[Generated]:
    """Continue each prompt (ids), with its own number and sampling; yield the stories in the order of the prompts.

    Stories with the same prompt and sampling differ by their number. Each story is generated after an end-of-text
    token, as in training, until the model generates end-of-text, `max_tokens` of its sampling is reached, or the
    context is full. As many stories as memory allows are generated at once. Raises UserError if a prompt leaves no room
    for another token.
    """
    limits = [_limit(model, prompt, sampling) for prompt, sampling in zip(prompts, samplings, strict=True)]
    at_once = stories_at_once(model, max(limits, default=1))
    todo = [_Todo(*each) for each in zip(prompts, numbers, samplings, limits, strict=True)]
    for first in range(0, len(todo), at_once):
        batch = _Batch(todo[first : first + at_once], end_of_text)
        for _ in _generate(batch, model, None):
            pass
        yield from batch.stories()


def stream(
    model: Transformer,
    prompt: Sequence[int],
    number: int,
    sampling: Sampling,
    end_of_text: int,
    step: "CompiledStep | None" = None,
) -> Iterator[int]:
    """Yield the ids that `generate` continues one prompt with, each as soon as it is sampled, without end-of-text.

    `step` is the model's decoding step, compiled; None runs it uncompiled.
    """
    batch = _Batch([_Todo(prompt, number, sampling, _limit(model, prompt, sampling))], end_of_text)
    for position in _generate(batch, model, step):
        if position < batch.ends[0]:
            yield int(batch.ids[0, position])


def stories_at_once(model: Transformer, length: int) -> int:
    """Return the batch size for stories of at most `length` tokens."""
    cache = length * bytes_per_token(model.params, model.compute_dtype)
    return max(1, min(MAX_BATCH, CACHE_BYTES // cache))


def _limit(model: Transformer, prompt: Sequence[int], sampling: Sampling) -> int:
    """Return the length of the longest possible story, with the end-of-text token before it [tokens]."""
    limit = min(sampling.max_tokens + 1, model.params.context)
    if len(prompt) + 1 >= limit:
        raise UserError(
            f"expected prompts of fewer than {limit - 1} tokens, got {len(prompt)}; "
            "shorten the prompt, or raise generate.max_tokens and model.context"
        )
    return limit


class CompiledStep:
    """The compiled decoding step of a single story, with the model's weights frozen into it on a CPU.

    Each of the COMPILED_SHAPES cache lengths takes about 10 seconds to compile when it is first needed. The choice of
    kernels does not depend on timings, so that a seed always gives the same stories.
    """

    def __init__(self, model: Transformer):
        self._model = model
        self._compiled = compile_function(model.next_logits, dynamic=False, fullgraph=True)
        self._known: set[int] = set()  # cache lengths
        self._options: dict[str, Any] = {}
        if model.embedding.weight.device.type == "cpu":
            # For matmuls with a single row, TorchInductor's own kernels are twice as fast as oneDNN's.
            self._options = {"freezing": True, "max_autotune": True, "max_autotune_gemm_backends": "CPP"}

    def cache(self) -> KVCache:
        """Return an empty cache of the lengths that this step is compiled for."""
        context = self._model.params.context
        return self._model.cache(1, context, -(-context // COMPILED_SHAPES))

    @torch.no_grad()
    def warm_up(self) -> None:
        """Compile for all cache lengths now."""
        cache, ids = self.cache(), torch.zeros((1, 1), dtype=torch.long, device=self._model.embedding.weight.device)
        for length in range(0, self._model.params.context, cache.granularity):
            cache.length = length
            cache.reserve(1)
            self(ids, cache)

    def __call__(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Return the logits (1, V) of the token after ids (1, 1); the cache has room for it."""
        if cache.end in self._known:
            return self._compiled(ids, cache)
        from torch._dynamo import config as dynamo_config  # a second to load
        from torch._inductor import config as inductor_config

        self._known.add(cache.end)
        # Patched, because torch.compile ignores `freezing` in its options. All models and shapes share one limit.
        with inductor_config.patch(self._options), dynamo_config.patch(recompile_limit=64):
            return self._compiled(ids, cache)


@dataclass(frozen=True)
class _Todo:
    """A story to generate."""

    prompt: Sequence[int]
    number: int
    sampling: Sampling
    limit: int  # longest story, with the end-of-text token before it [tokens]


class _Batch:
    """The state of stories that are generated together; in NumPy, which has less overhead for small arrays."""

    def __init__(self, stories: Sequence[_Todo], end_of_text: int):
        self.todo, self.end_of_text = stories, end_of_text
        self.samplings = list(dict.fromkeys(story.sampling for story in stories))
        self.sampling = np.array([self.samplings.index(story.sampling) for story in stories])
        self.max_length = max(story.limit for story in stories)
        self.ids = np.full((len(stories), self.max_length), end_of_text)
        self.uniforms = np.empty(self.ids.shape)  # the random number in [0, 1) behind each token
        for row, story in enumerate(stories):
            self.ids[row, 1 : len(story.prompt) + 1] = story.prompt
            self.uniforms[row] = uniform(story.sampling.seed, story.number, np.arange(self.max_length, dtype=np.uint64))
        self.starts = np.array([len(story.prompt) + 1 for story in stories])  # position of the first generated token
        self.ends = np.array([story.limit for story in stories])  # position after the last one
        self.log_probability = np.zeros(len(stories))  # sum over the sampled tokens, end-of-text included

    def append(self, position: int, rows: np.ndarray, drawn: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
        """Store the ids `drawn` for `rows`, except in prompts and ended stories; returns which rows continue (R,)."""
        ends = self.ends[rows]
        generating = (self.starts[rows] <= position) & (position < ends)
        self.ids[rows[generating], position] = drawn[generating]
        self.log_probability[rows] += np.where(generating, log_probability, 0.0)
        self.ends[rows] = ends = np.where(generating & (drawn == self.end_of_text), position, ends)
        return ends > position + 1

    def stories(self) -> Iterator[Generated]:
        for row, story in enumerate(self.todo):
            start, end = len(story.prompt) + 1, int(self.ends[row])
            ended = end < story.limit
            mean = float(self.log_probability[row]) / (end - start + ended)
            yield Generated(list(story.prompt), self.ids[row, start:end].tolist(), ended, mean)


@torch.no_grad()
def _generate(batch: _Batch, model: Transformer, step: CompiledStep | None) -> Iterator[int]:
    """Generate all stories of the batch, and yield each position once it is filled.

    All rows are at the same position: longer prompts are still being read while shorter ones already generate, so
    that no row needs padding or its own mask. Rows of ended stories are dropped from the cache.
    """
    device = model.embedding.weight.device
    rows = np.arange(len(batch.todo))
    cache = step.cache() if step else model.cache(len(rows), batch.max_length)
    read = 0
    for position in range(int(batch.starts.min()), batch.max_length):
        new = torch.from_numpy(batch.ids[rows, read:position]).to(device)
        cache.reserve(position - read)
        next_logits = step if step and position - read == 1 else model.next_logits
        logits = next_logits(new, cache).float().cpu()  # (B, V)
        drawn = draw_each(logits, batch.uniforms[rows, position], batch.samplings, batch.sampling[rows])
        log_probability = logits.log_softmax(-1).numpy()[np.arange(len(rows)), drawn]
        active = batch.append(position, rows, drawn, log_probability)
        yield position
        if not active.any():
            return
        if (~active).mean() >= DROPPED_AT_ONCE:
            kept = _close_gaps(active)
            cache.keep(torch.from_numpy(kept).to(device))
            rows = rows[kept]
        read = position


def _close_gaps(active: np.ndarray) -> np.ndarray:
    """Return the indices of the active rows, with the last ones in the places of those that are not active."""
    count = int(active.sum())
    kept = np.arange(count)
    kept[~active[:count]] = np.flatnonzero(active[count:]) + count
    return kept
