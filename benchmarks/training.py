"""Training: tokens per second next to other trainers, and the share of the machine's peak FLOP/s.

nanoGPT is there twice: as it ships, which is float32 on a CPU, and tuned as its users can in two lines, with bf16,
compilation and the fused AdamW.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.measure import ROOT, interleaved, seconds
from benchmarks.models import (
    Size,
    llama2c_model,
    make_model,
    nanogpt_model,
    plain_step,
    sizes,
    train_params,
    transformers_model,
)
from benchmarks.report import Row, write
from benchmarks.token_files import make_tokens
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import DTYPES, Hardware, make_deterministic, resolve_hardware
from tinylm.evaluate.score import score_split
from tinylm.model.transformer import training_flop_per_token
from tinylm.tokens.store import TokenStore
from tinylm.train.step import Trainer

TITLE = "Training: tokens per second"
REPETITIONS, STEPS = 5, 2
LARGE_BATCH = 32  # sequences, as in the presets
TUNED = "nanoGPT, compiled, bf16"
SQUARE = 2048  # rows and columns of the matrices whose matmul measures the machine's peak


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT, to compare with")
    parser.add_argument("--llama2c", type=Path, help="a checkout of llama2.c, to compare with its trainer")


def bench(arguments: argparse.Namespace) -> None:
    hardware = resolve_hardware(read_params(ROOT / "params.yaml")[RuntimeParams])
    rows = list(machine_rows(hardware))
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes():
            tokens = make_tokens(Path(folder) / size.name, arguments.stories, size.vocab_size)
            for batch_size in (size.batch_size, LARGE_BATCH):
                same = replace(size, name=f"{size.name}, batch {batch_size}", batch_size=batch_size)
                rows += compare(same, tokens, hardware, arguments.nanogpt, arguments.llama2c)
    write("training", TITLE, rows)


def machine_rows(hardware: Hardware) -> Iterator[Row]:
    """Measure the machine's peak FLOP/s in float32 and in the training precision."""
    for name in dict.fromkeys(("fp32", hardware.precision)):
        yield Row(f"matmul, {name}", peak_flops(hardware.device, name) / 1e9, "GFLOP/s")


def peak_flops(device: torch.device, precision: str) -> float:
    """Return the FLOP/s of a large matmul."""
    matrix = torch.randn(SQUARE, SQUARE, device=device, dtype=DTYPES[precision])

    def matmuls() -> None:
        for _ in range(4):
            result = matrix @ matrix
        result[0, 0].item()  # wait for the GPU

    matmuls()
    return 4 * 2 * SQUARE**3 / seconds(matmuls, 5)


def compare(
    size: Size, tokens: TokenStore, hardware: Hardware, nanogpt: Path | None, llama2c: Path | None
) -> Iterator[Row]:
    """Compare training speeds in one process, in turns, after compilation. The first row is the baseline."""
    tasks: dict[str, Callable[[], object]] = {}
    if nanogpt:
        tasks["nanoGPT, eager"] = tutorial(nanogpt_model(nanogpt, size), size, hardware)
        tasks[TUNED] = tutorial(nanogpt_model(nanogpt, size), size, hardware, tuned=True)
    if llama2c:
        tasks["llama2.c, compiled, bf16"] = tutorial(llama2c_model(llama2c, size), size, hardware, tuned=True)
    tasks["Transformers, eager, fp32"] = tutorial(transformers_model(size), size, hardware)
    trainers = {}
    for optimizer in ("adamw", "muon"):
        name = f"this project, {optimizer}"
        p = train_params(optimizer=optimizer, batch_size=size.batch_size)
        trainers[name] = Trainer(make_model(size, hardware).train(), p, tokens, hardware, compiled=True)
        tasks[name] = partial(ours, trainers[name])
    score = trainers["this project, adamw"].model

    def evaluate() -> None:
        score.eval()
        score_split(score, tokens.val, tokens.end_of_text, size.model.context, 32, bar=False)
        score.train()

    for task in tasks.values():
        task()
    times = interleaved(tasks, REPETITIONS)
    base, peak = next(iter(times.values())), peak_flops(hardware.device, hardware.precision)
    tuned = times.get(TUNED)
    flop = training_flop_per_token(size.model, trainers["this project, muon"].model.size().parameters)
    for name, taken in times.items():
        speed = STEPS * size.tokens_per_step / taken
        note = f"{speed * flop / 1e9:,.0f} GFLOP/s, {speed * flop / peak:.0%} of the {hardware.precision} matmul"
        yield Row(f"{size.name}: {name}", speed, "tokens/s", base / taken, note, tuned and tuned / taken)
    evaluate()
    taken = interleaved({"evaluate": evaluate, "train": tasks["this project, muon"]}, 3)
    speed = len(tokens.val.tokens) / taken["evaluate"]
    training = STEPS * size.tokens_per_step / taken["train"]
    note = "baseline: this project's training with Muon, run in turns with it"
    yield Row(f"{size.name}: evaluation, {hardware.precision}", speed, "tokens/s", speed / training, note)


def ours(trainer: Trainer) -> None:
    """Train for STEPS steps with the kernels of `train.deterministic: true`, the default; restore the others after."""
    make_deterministic(trainer.hardware.device)
    for step in range(STEPS):
        loss, _ = trainer.train_step(step)
    loss.item()  # wait for the GPU
    torch.use_deterministic_algorithms(False)


def tutorial(model: Any, size: Size, hardware: Hardware, tuned: bool = False) -> Callable[[], None]:
    """Return a plain training loop on random ids.

    On a CPU it is float32, as is usual; `tuned`, it is compiled, with bf16 autocast and the fused AdamW. On a GPU it
    has bf16 autocast in both cases.
    """
    model = model.to(hardware.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=tuned)
    ids = torch.randint(size.vocab_size, (size.batch_size, size.model.context + 1), device=hardware.device)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    call = torch.compile(model) if tuned else model
    autocast = tuned or hardware.device.type == "cuda"

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hardware.device.type, torch.bfloat16, enabled=autocast):
            if hasattr(model, "crop_block_size"):  # nanoGPT
                return cast(torch.Tensor, call(inputs, targets)[1])
            if hasattr(model, "tok_embeddings"):  # llama2.c
                call(inputs, targets)
                return cast(torch.Tensor, model.last_loss)
            logits = call(input_ids=inputs).logits
            return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def work() -> None:
        for _ in range(STEPS):
            loss = plain_step(model, loss_of, optimizer, inputs, targets)
        loss.item()

    return work
