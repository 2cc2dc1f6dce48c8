"""Generation: tokens per second next to Transformers' `generate` and nanoGPT, with models of the same size."""

import argparse
import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import ROOT, interleaved
from benchmarks.models import Size, make_model, nanogpt_model, sizes, transformers_model
from benchmarks.report import Row, write
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import DTYPES, Hardware, has_bf16, resolve_hardware
from tinylm.model.inference import for_inference
from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import CompiledStep, generate, stream
from tinylm.sampling.sampler import Sampling

TITLE = "Generation: tokens per second"
REPETITIONS = 3
BATCHES = (1, 32, 256)  # stories at once
PROMPT, NEW_TOKENS = [5, 6, 7, 8], 200
TEMPERATURE, TOP_P = 0.8, 0.95
SHARPER = 12  # factor on the logits, so that top-p has about as many candidates as with a trained model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: this section uses `--nanogpt` of `training`."""


def bench(arguments: argparse.Namespace) -> None:
    hardware = resolve_hardware(read_params(ROOT / "params.yaml")[RuntimeParams])
    rows = [row for stories in BATCHES for row in compare(sizes()[0], stories, hardware, arguments.nanogpt)]
    write("writing", TITLE, rows)


def compare(size: Size, stories: int, hardware: Hardware, nanogpt: Path | None) -> Iterator[Row]:
    """Compare generation speeds in one process, in turns, without compilation.

    Weights are random, so that stories do not end early.
    """
    precisions = ["fp32", "bf16"] if has_bf16(hardware.device) else ["fp32"]
    tasks: dict[str, Callable[[], object]] = {}
    if nanogpt and stories == 1:  # more stories would take minutes
        tasks["nanoGPT, fp32, no cache"] = partial(nanogpt_generates, nanogpt_model(nanogpt, size).eval(), stories)
    for name in precisions:
        model = transformers_model(size, DTYPES[name]).to(hardware.device).eval()
        tasks[f"Transformers, {name}"] = partial(transformers_generates, model, stories)
    for name in precisions:
        own = make_model(size, Hardware(hardware.device, name, hardware.threads))
        own = own.to(hardware.device, DTYPES[name]).eval()
        with torch.no_grad():
            own.norm.weight.mul_(SHARPER)
        if stories == 1:
            tasks[f"this project, {name}, compiled"] = partial(own_generates, own, stories, CompiledStep(own))
        fast = for_inference(copy.deepcopy(own), stories > 1)
        tasks[f"this project, {name}"] = partial(own_generates, fast, stories, None)
    for name, task in tasks.items():
        if name.endswith("compiled"):
            task()
    times = interleaved(tasks, REPETITIONS)
    base = next(iter(times.values()))
    for name, taken in times.items():
        speed = stories * NEW_TOKENS / taken
        at_once = "1 story" if stories == 1 else f"{stories} stories at once"
        yield Row(f"{size.name}, {at_once}: {name}", speed, "tokens/s", base / taken)


def own_generates(model: Transformer, stories: int, step: CompiledStep | None) -> None:
    longest = len(PROMPT) + NEW_TOKENS
    sampling = Sampling(TEMPERATURE, None, TOP_P, longest, seed=1)
    end = model.vocab_size - 1
    if stories == 1:
        tokens = len(list(stream(model, PROMPT, 0, sampling, end, step)))
    else:
        written = generate(model, [PROMPT] * stories, range(stories), [sampling] * stories, end)
        tokens = sum(len(story.continuation) for story in written)
    if tokens < 0.9 * stories * NEW_TOKENS:
        raise RuntimeError(f"expected about {stories * NEW_TOKENS} tokens, got {tokens}: stories ended early")


@torch.inference_mode()
def transformers_generates(model: Any, stories: int) -> None:
    ids = torch.tensor([PROMPT] * stories, device=model.device)
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        top_k=0,
        min_new_tokens=NEW_TOKENS,
        max_new_tokens=NEW_TOKENS,
        pad_token_id=0,
    )


@torch.inference_mode()
def nanogpt_generates(model: Any, stories: int) -> None:
    model.generate(torch.tensor([PROMPT] * stories), NEW_TOKENS, temperature=TEMPERATURE)
