"""Two training processes on this machine, as DDP and FSDP, next to what `tinylm plan` expects of them.

Each process has one thread and is not compiled. Expected is the measured step of two processes that exchange nothing,
as `tinylm plan` measures it, and the plan's model of communication.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.multiprocessing

from benchmarks.measure import ROOT, seconds
from benchmarks.report import Row, write
from tests.support.servers import free_port
from tinylm.base import atomic
from tinylm.base.params import check
from tinylm.base.yaml12 import read
from tinylm.compute.allocator import keep_freed_memory
from tinylm.compute.device import Hardware, has_bf16
from tinylm.compute.distributed import World, process_group
from tinylm.planning.parameter_file import apply
from tinylm.planning.random_tokens import random_store
from tinylm.planning.targets import LocalTarget
from tinylm.planning.workload import Workload, workload_of
from tinylm.train.setup.build import build_model
from tinylm.train.sharding.layout import Layout
from tinylm.train.step import Trainer

TITLE = "Two processes that train together"
PROCESSES, STEPS = 2, 6
TEN_MILLION = {"model.layers": 6, "model.width": 320, "model.heads": 5, "model.mlp_width": 864}
LARGE = {"model.layers": 8, "model.width": 640, "model.heads": 10, "model.mlp_width": 1728}
CASES: dict[str, dict[str, Any]] = {
    "1.3M, 8 x 256": {"train.batch_size": 8},
    "1.3M, 32 x 256": {"train.batch_size": 32},
    "10M, 4 x 256": TEN_MILLION | {"train.batch_size": 4, "train_tokenizer.vocab_size": 8192},
    "10M, 16 x 256": TEN_MILLION | {"train.batch_size": 16, "train_tokenizer.vocab_size": 8192},
    "45M, 8 x 256": LARGE | {"train.batch_size": 8, "train_tokenizer.vocab_size": 8192},
}
LAYOUTS = {"DDP": Layout(), "FSDP": Layout(sharded=True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The section needs no arguments of its own."""


def bench(_: argparse.Namespace) -> None:
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:  # in processes of its own: what earlier ones leave behind in memory has slowed later ones
            output = Path(folder) / "times.json"
            torch.multiprocessing.spawn(measure, (free_port(), output, name), PROCESSES)
            rows += rows_of(name, read(output, ""))
    write("layouts", TITLE, rows)


def rows_of(name: str, times: dict[str, float]) -> Iterator[Row]:
    run, target = workload(name), LocalTarget(hardware(), PROCESSES, probing=True)
    tokens, one = run.tokens_per_step, times["one"]
    yield Row(f"{name}, one process", tokens / one, "tokens/s", None)
    apart = f"efficiency {one / times['apart'] / PROCESSES:.0%}"
    yield Row(f"{name}, two that exchange nothing", tokens / times["apart"], "tokens/s", None, apart)
    for layout_name, layout in LAYOUTS.items():
        expected = times["apart"] + (target.exchange(run, layout).seconds or 0.0)
        took = times[layout_name]
        note = (
            f"expected {tokens / expected:,.0f} ({took / expected - 1:+.0%}); "
            f"efficiency {one / took / PROCESSES:.0%}, expected {one / expected / PROCESSES:.0%}"
        )
        yield Row(f"{name}, {layout_name}", tokens / took, "tokens/s", None, note)


def workload(name: str) -> Workload:
    changes = {"runtime.compile": False, "train.warmup_steps": 100, **CASES[name]}
    params = check(apply(read(ROOT / "presets/quick.yaml", ""), changes), name)
    return replace(workload_of(params), steps=1000)


def hardware() -> Hardware:
    cpu = torch.device("cpu")
    return Hardware(cpu, "bf16" if has_bf16(cpu) else "fp32", 1)


def measure(rank: int, port: int, output: Path, name: str) -> None:
    """Write the seconds of a step of a case, in one of the processes, which all do the same."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "LOCAL_WORLD_SIZE": PROCESSES}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    keep_freed_memory()
    run, times = workload(name), dict[str, float]()
    with process_group(hardware().device) as world:
        if world.is_main:
            times["one"] = time_trainer(run, World(), Layout())
        world.gather(None)
        half = run.train.model_copy(update={"batch_size": run.train.batch_size // PROCESSES})
        times["apart"] = max(world.gather(time_trainer(replace(run, train=half), World(), Layout())))
        for layout_name, layout in LAYOUTS.items():
            times[layout_name] = max(world.gather(time_trainer(run, world, layout)))
        if world.is_main:
            atomic.write_json(output, times)


def time_trainer(run: Workload, world: World, layout: Layout) -> float:
    """Return the median time of a training step [s]."""
    model = build_model(run.model, run.vocab_size, run.train, hardware(), layout, world.size)
    store = random_store(100_000, run.vocab_size)
    trainer = Trainer(model, run.train, store, hardware(), world=world, layout=layout)
    for step in range(2):
        trainer.train_step(step)
    return median(seconds(lambda step=step: trainer.train_step(step)[0].item(), 1) for step in range(2, 2 + STEPS))
