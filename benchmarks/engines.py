"""Encode a corpus in shards with engines that run on clusters, next to this project's own processes, on this machine.

All do the same work with two workers of one thread; an engine that is not installed is left out. Then they do it again,
and a worker is killed in the middle of a shard.
"""

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.data import read_stories_for, vary
from benchmarks.measure import run_python
from benchmarks.report import Row, write
from tinylm.base.shards import shard_name
from tinylm.corpus.storage import shards, writing_stories
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.train_tokenizer.training import train_bpe
from tinylm.workers.processes import LocalWorkers

TITLE = "Engines for a corpus in shards"
WORKERS, SHARDS, SHARD_BYTES = 2, 16, 40_000_000
KILLED_AT = 6  # shards begun when a worker is killed
PATIENCE = 60  # without a further shard, an engine counts as hung [s]
LOCAL_RAY = {"num_cpus": WORKERS, "include_dashboard": False, "logging_level": "error"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The section needs no arguments of its own."""


def bench(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="engines-") as name:
        folder, rows = Path(name), list[Row]()
        stories = read_stories_for(arguments)
        size = write_shards(folder / "corpus", stories)
        (folder / "tokenizer.json").write_text(train_bpe(stories, 4096, 2).to_str(), encoding="utf-8")
        base = 0.0
        for engine, (module, _) in ENGINES.items():
            if importlib.util.find_spec(module) is None:
                continue
            used = run_python(["-m", "benchmarks.engines", engine, "run"], folder)
            took, _ = (folder / "outcome").read_text(encoding="utf-8").split(maxsplit=1)
            base = base or float(took)
            speed = f"{size / 1e6 / float(took) / WORKERS:.1f} MB/s per worker"
            note = f"{speed}; {used.seconds:.1f} s with its start; peak {used.peak_mb:.0f} MiB"
            rows.append(Row(engine, float(took), "s", base / float(took), note))
            run_python(["-m", "benchmarks.engines", engine, "kill"], folder)
            took, outcome = (folder / "outcome").read_text(encoding="utf-8").split(maxsplit=1)
            rows.append(Row(f"{engine}, a worker killed", float(took), "s", None, outcome))
        write("engines", TITLE, rows)


def write_shards(folder: Path, stories: list[str]) -> int:
    """Write a corpus in shards made from the stories; return its bytes."""
    folder.mkdir()
    texts, total = vary(stories, 2 * SHARDS * SHARD_BYTES), 0
    for index in range(SHARDS):
        with writing_stories(folder / f"{shard_name('train', index, SHARDS)}.parquet") as writer:
            while writer.bytes < SHARD_BYTES:
                writer.write(next(texts).encode())
            total += writer.bytes
    return total


def main() -> None:
    """Run an engine in this folder, and write the seconds it took and how it ended to the file `outcome`."""
    engine, kill = sys.argv[1], sys.argv[2] == "kill"
    for name in ("started", "tokens"):
        shutil.rmtree(name, ignore_errors=True)
        Path(name).mkdir()
    started = time.perf_counter()
    if kill:
        threading.Thread(target=kill_a_worker, args=(started,), daemon=True).start()
    try:
        took, outcome = ENGINES[engine][1](partial(encode_shard, Path.cwd())), "ended well"
    except Exception as error:  # whatever the engine raises for a lost worker
        took, outcome = time.perf_counter() - started, f"failed ({type(error).__name__})"
    report(took, outcome)


def report(took: float, outcome: str) -> None:
    done = len(list(Path("tokens").glob(f"train-?????-of-{SHARDS:05}.bin")))
    again = len(list(Path("started").iterdir())) - done
    Path("outcome").write_text(f"{took} {outcome}; {done} of {SHARDS} shards; {again} more begun", encoding="utf-8")


def encode_shard(folder: Path, index: int) -> int:
    """Encode a shard, after a note of which process does so; return its tokens."""
    (folder / f"started/{index}-{os.getpid()}-{time.monotonic_ns()}").touch()
    corpus, tokenizer = shards(folder / "corpus/train.parquet")[index], load_tokenizer(folder / "tokenizer.json")
    return write_split(folder / "tokens", corpus.stem, corpus, tokenizer)[0].tokens


def kill_a_worker(began: float) -> None:
    """Kill a process in the middle of a shard; then end this one if no further shard appears."""
    while len(notes := sorted(Path("started").iterdir(), key=lambda path: path.name.rpartition("-")[2])) < KILLED_AT:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(int(notes[-1].name.split("-")[1]), signal.SIGKILL)
    count, last = 0, time.monotonic()
    while time.monotonic() - last < PATIENCE:
        if len(list(Path("tokens").iterdir())) > count:
            count, last = len(list(Path("tokens").iterdir())), time.monotonic()
        time.sleep(0.1)
    report(time.perf_counter() - began - PATIENCE, "hung")
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(0)


def run_processes(work: Callable[[int], int]) -> float:
    started = time.perf_counter()
    list(LocalWorkers(WORKERS).map(partial(partial, work), range(SHARDS)))
    return time.perf_counter() - started


def run_ray(work: Callable[[int], int]) -> float:
    import ray

    ray.init(**LOCAL_RAY, runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}})
    started = time.perf_counter()
    task = ray.remote(call)
    ray.get([task.remote(work, index) for index in range(SHARDS)])
    return time.perf_counter() - started


def call(work: Callable[[int], int], index: int) -> int:
    return work(index)


def run_ray_data(work: Callable[[int], int]) -> float:
    import ray

    ray.init(**LOCAL_RAY, runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}})
    started = time.perf_counter()
    ray.data.range(SHARDS, override_num_blocks=SHARDS).map(partial(work_on_row, work)).materialize()
    return time.perf_counter() - started


def work_on_row(work: Callable[[int], int], row: dict[str, Any]) -> dict[str, Any]:
    return {"tokens": work(int(row["id"]))}


def run_dask(work: Callable[[int], int]) -> float:
    from distributed import Client, LocalCluster

    local = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with local as cluster, Client(cluster) as client:
        started = time.perf_counter()
        client.gather(client.map(work, range(SHARDS), pure=False))
        return time.perf_counter() - started


def run_datatrove(work: Callable[[int], int]) -> float:
    from datatrove.executor import LocalPipelineExecutor

    with tempfile.TemporaryDirectory() as logs:
        started = time.perf_counter()
        LocalPipelineExecutor(
            [partial(step_of_datatrove, work)], tasks=SHARDS, workers=WORKERS, logging_dir=logs, start_method="fork"
        ).run()
        return time.perf_counter() - started


def step_of_datatrove(work: Callable[[int], int], _: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
    assert world_size == SHARDS
    work(rank)
    yield from ()


ENGINES: dict[str, tuple[str, Callable[[Callable[[int], int]], float]]] = {
    "processes": ("tinylm", run_processes),
    "ray": ("ray", run_ray),
    "ray data": ("ray", run_ray_data),
    "dask": ("distributed", run_dask),
    "datatrove": ("datatrove", run_datatrove),
}

if __name__ == "__main__":
    main()
