"""Generate stories with a KV cache.

The random number behind each token is a pure function of (seed, story number, position), so that a story does not
depend on the batch it is generated in.
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

MAX_BATCH = 64  # stories; bounds the memory of the cache
COMPILED_SHAPES = 3  # cache lengths that a decoding step is compiled for


@dataclass(frozen=True)
class Generated:
    """One story as ids, without the end-of-text tokens around it."""

    prompt: list[int]
    continuation: list[int]
    ended: bool  # whether it reached end-of-text
    log_probability: float  # mean over the sampled tokens, at temperature 1 [nats per token]


DecodeStep = Callable[[Tensor, KVCache], Tensor]  # one token per story: ids (B, 1) to logits (B, 1, V)


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    sampling: Sampling,
    end_of_text: int,
    step: DecodeStep | None = None,
) -> Iterator[Generated]:
    """Continue each prompt (ids) and yield the stories in the order of the prompts.

    Stories with the same prompt differ by their number in `numbers`. Each story is generated after an end-of-text
    token, as in training, until the model generates end-of-text, `sampling.max_tokens` is reached, or the context is
    full. `step` comes from `compile_step(model, ...)`; None runs the model uncompiled. Raises UserError if a prompt
    leaves no room for another token.
    """
    max_length = _max_length(model, prompts, sampling)
    for first in range(0, len(prompts), MAX_BATCH):
        part = slice(first, first + MAX_BATCH)
        batch = _Batch(prompts[part], max_length, end_of_text)
        for _ in _generate(batch, model, numbers[part], sampling, step):
            pass
        yield from batch.stories()


def stream(
    model: Transformer, prompt: Sequence[int], number: int, sampling: Sampling, end_of_text: int
) -> Iterator[int]:
    """Yield the ids that `generate` continues one prompt with, each as soon as it is sampled, without end-of-text."""
    batch = _Batch([prompt], _max_length(model, [prompt], sampling), end_of_text)
    for position in _generate(batch, model, [number], sampling, None):
        if position < batch.ends[0]:
            yield int(batch.ids[0, position])


def _max_length(model: Transformer, prompts: Sequence[Sequence[int]], sampling: Sampling) -> int:
    """Return the length of the longest possible story, with the end-of-text token before it [tokens]."""
    max_length = min(sampling.max_tokens + 1, model.params.context)
    for prompt in prompts:
        if len(prompt) + 1 >= max_length:
            raise UserError(
                f"expected prompts of fewer than {max_length - 1} tokens, got {len(prompt)}; "
                "shorten the prompt, or raise generate.max_tokens and model.context"
            )
    return max_length


def compile_step(model: Transformer, stories: int) -> DecodeStep:
    """Compile a decoding step for a batch of `stories`, with the model's weights frozen into it on a CPU.

    Each cache length takes about 10 seconds to compile. The choice of kernels depends on `stories` alone and not on
    timings, so that a seed always gives the same stories.
    """
    from torch._dynamo import config as dynamo_config  # a second to load
    from torch._inductor import config as inductor_config

    options: dict[str, Any] = {}
    if model.embedding.weight.device.type == "cpu":
        # For matmuls with a single row, TorchInductor's own kernels are twice as fast as oneDNN's.
        options = {"freezing": True, "max_autotune": stories == 1, "max_autotune_gemm_backends": "CPP"}

    def step(ids: Tensor, cache: KVCache) -> Tensor:
        return model.head(model.hidden(model.embed(ids, cache), cache))

    compiled, known = torch.compile(step, dynamic=False, fullgraph=True), set()

    def reserve_and_step(ids: Tensor, cache: KVCache) -> Tensor:
        cache.reserve(1)
        shape = len(ids), cache.end
        if shape in known:
            return compiled(ids, cache)
        known.add(shape)
        # Patched, because torch.compile ignores `freezing` in its options. All models and shapes share one limit.
        with inductor_config.patch(options), dynamo_config.patch(recompile_limit=64):
            return compiled(ids, cache)

    return reserve_and_step


class _Batch:
    """The state of stories that are generated together; in NumPy, which has less overhead for small arrays."""

    def __init__(self, prompts: Sequence[Sequence[int]], max_length: int, end_of_text: int):
        self.prompts, self.max_length, self.end_of_text = prompts, max_length, end_of_text
        self.ids = np.full((len(prompts), max_length), end_of_text)
        for row, prompt in enumerate(prompts):
            self.ids[row, 1 : len(prompt) + 1] = prompt
        self.starts = np.array([len(prompt) + 1 for prompt in prompts])  # position of the first generated token
        self.ends = np.full(len(prompts), max_length)  # position after the last one
        self.log_probability = np.zeros(len(prompts))  # sum over the sampled tokens, end-of-text included

    def append(self, position: int, rows: np.ndarray, drawn: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
        """Store the ids `drawn` for `rows`, except in prompts and ended stories; returns which rows continue (R,)."""
        ends = self.ends[rows]
        generating = (self.starts[rows] <= position) & (position < ends)
        self.ids[rows[generating], position] = drawn[generating]
        self.log_probability[rows] += np.where(generating, log_probability, 0.0)
        self.ends[rows] = ends = np.where(generating & (drawn == self.end_of_text), position, ends)
        return ends > position

    def stories(self) -> Iterator[Generated]:
        for row, prompt in enumerate(self.prompts):
            start, end = len(prompt) + 1, int(self.ends[row])
            ended = end < self.max_length
            mean = float(self.log_probability[row]) / (end - start + ended)
            yield Generated(list(prompt), self.ids[row, start:end].tolist(), ended, mean)


@torch.no_grad()
def _generate(
    batch: _Batch, model: Transformer, numbers: Sequence[int], sampling: Sampling, step: DecodeStep | None
) -> Iterator[int]:
    """Generate all stories of the batch, and yield each position once it is filled.

    All rows are at the same position: longer prompts are still being read while shorter ones already generate, so
    that no row needs padding or its own mask. When at least half of the rows have ended, they are dropped from the
    cache, except with a compiled `step`, whose batch size is fixed.
    """
    device, max_length = model.embedding.weight.device, batch.max_length
    rows = np.arange(len(batch.prompts))
    columns = np.arange(max_length, dtype=np.uint64)
    uniforms = uniform(sampling.seed, np.array(numbers, np.uint64)[:, None], columns)  # (B, max_length)
    cache = model.cache(len(rows), max_length, -(-max_length // COMPILED_SHAPES) if step else 1)
    read = 0
    for position in range(int(batch.starts.min()), max_length):
        new = torch.from_numpy(batch.ids[rows, read:position]).to(device)
        logits = (step if step and position - read == 1 else model)(new, cache)[:, -1].float().cpu()  # (B, V)
        drawn = draw(logits, uniforms[rows, position], sampling)
        log_probability = logits.log_softmax(-1).numpy()[np.arange(len(rows)), drawn]
        active = batch.append(position, rows, drawn, log_probability)
        yield position
        if not active.any():
            return
        if step is None and 2 * active.sum() <= len(rows):
            cache.keep(torch.from_numpy(active.nonzero()[0]).to(device))
            rows = rows[active]
        read = position
