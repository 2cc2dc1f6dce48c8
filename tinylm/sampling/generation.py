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

from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import uniform
from tinylm.model.kv_cache import KVCache
from tinylm.model.transformer import Transformer
from tinylm.sampling.sampler import Sampling, draw

MOST_AT_ONCE = 64  # stories in a batch: bounds the cache's memory
COMPILED_SHAPES = 3  # lengths of the cache that a compiled step is made for


@dataclass(frozen=True)
class Generated:
    """One story as ids, without the end-of-text marks around it."""

    prompt: list[int]
    continuation: list[int]
    ended: bool  # whether it came to its end-of-text by itself
    log_probability: float  # mean over what was drawn, at temperature 1 [nats per token]


DecodeStep = Callable[[Tensor, KVCache], Tensor]  # one token of each story, (B, 1) ids, to (B, 1, V) logits


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    sampling: Sampling,
    end_of_text: int,
    step: DecodeStep | None = None,
) -> Iterator[Generated]:
    """Continue each prompt (ids); `numbers` tell equal prompts apart. Stories come in the order of the prompts.

    Every story begins after an end-of-text id, as in training. It ends with one, at
    `sampling.max_tokens`, or where the model's context is full. `step` is the model's, from `compile_step`;
    without one the model is called as it is. Raises UserError for a prompt that leaves no room.
    """
    longest = _longest(model, prompts, sampling)
    for first in range(0, len(prompts), MOST_AT_ONCE):
        some = slice(first, first + MOST_AT_ONCE)
        batch = _Batch(prompts[some], longest, end_of_text)
        for _ in _write(batch, model, numbers[some], sampling, step):
            pass
        yield from batch.stories()


def stream(
    model: Transformer, prompt: Sequence[int], number: int, sampling: Sampling, end_of_text: int
) -> Iterator[int]:
    """The ids that continue one prompt, each when it is drawn: those of `generate`, without the end-of-text id."""
    batch = _Batch([prompt], _longest(model, [prompt], sampling), end_of_text)
    for position in _write(batch, model, [number], sampling, None):
        if position < batch.ends[0]:
            yield int(batch.ids[0, position])


def _longest(model: Transformer, prompts: Sequence[Sequence[int]], sampling: Sampling) -> int:
    """Tokens of the longest story, its end-of-text ids included."""
    longest = min(sampling.max_tokens + 1, model.params.context)
    for prompt in prompts:
        if len(prompt) + 1 >= longest:
            raise UserError(
                f"a prompt of {len(prompt)} tokens leaves no room in {longest} tokens "
                "(generate.max_tokens and model.context); shorten it or raise them"
            )
    return longest


def compile_step(model: Transformer, stories: int) -> DecodeStep:
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


class _Batch:
    """What stories that are written together have come to. In numpy, whose small steps cost less than torch's."""

    def __init__(self, prompts: Sequence[Sequence[int]], longest: int, end_of_text: int):
        self.prompts, self.longest, self.end_of_text = prompts, longest, end_of_text
        self.ids = np.full((len(prompts), longest), end_of_text)
        for row, prompt in enumerate(prompts):
            self.ids[row, 1 : len(prompt) + 1] = prompt
        self.begins = np.array([len(prompt) + 1 for prompt in prompts])
        self.ends = np.full(len(prompts), longest)  # where each story ends
        self.log_probability = np.zeros(len(prompts))  # of all that was drawn

    def take(self, position: int, rows: np.ndarray, drawn: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
        """Write what was drawn for `rows` (R,) where a story has begun and not ended; whether it goes on (R,)."""
        ends = self.ends[rows]
        writing = (self.begins[rows] <= position) & (position < ends)
        self.ids[rows[writing], position] = drawn[writing]
        self.log_probability[rows] += np.where(writing, log_probability, 0.0)
        self.ends[rows] = ends = np.where(writing & (drawn == self.end_of_text), position, ends)
        return ends > position

    def stories(self) -> Iterator[Generated]:
        for row, prompt in enumerate(self.prompts):
            end, begin = int(self.ends[row]), len(prompt) + 1
            ended = end < self.longest
            mean = float(self.log_probability[row]) / (end - begin + ended)
            yield Generated(list(prompt), self.ids[row, begin:end].tolist(), ended, mean)


@torch.no_grad()
def _write(
    batch: _Batch, model: Transformer, numbers: Sequence[int], sampling: Sampling, step: DecodeStep | None
) -> Iterator[int]:
    """Write all stories of the batch, and give each position when it is written.

    All rows stand at the same position: a longer prompt is read on while shorter ones already write, so that no
    row needs padding or a mask of its own. Without a compiled `step`, which has one number of rows, the
    rows of stories that have ended are given up when they are half of all.
    """
    device, longest = model.embedding.weight.device, batch.longest
    rows = np.arange(len(batch.prompts))
    columns = np.arange(longest, dtype=np.uint64)
    places = uniform(sampling.seed, np.array(numbers, np.uint64)[:, None], columns)  # (B, longest)
    cache = model.cache(len(rows), longest, -(-longest // COMPILED_SHAPES) if step else 1)
    read = 0
    for position in range(int(batch.begins.min()), longest):
        new = torch.from_numpy(batch.ids[rows, read:position]).to(device)
        logits = (step if step and position - read == 1 else model)(new, cache)[:, -1].float().cpu()  # (B, V)
        drawn = draw(logits, places[rows, position], sampling)
        log_probability = logits.log_softmax(-1).numpy()[np.arange(len(rows)), drawn]
        going = batch.take(position, rows, drawn, log_probability)
        yield position
        if not going.any():
            return
        if step is None and 2 * going.sum() <= len(rows):
            cache.keep(torch.from_numpy(going.nonzero()[0]).to(device))
            rows = rows[going]
        read = position
