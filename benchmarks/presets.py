"""Presets: time a few training steps of each parameter file on this machine, to estimate its whole run."""

import argparse
import resource
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import ROOT
from benchmarks.report import Row, write
from tinylm.base.params import read_params
from tinylm.compute.device import resolve_hardware
from tinylm.planning.probe import probe
from tinylm.planning.workload import workload_of

TITLE = "Presets: cost of a training run on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def bench(arguments: argparse.Namespace) -> None:  # noqa: ARG001 - the sections have one interface
    """Measure each file in a process of its own, so that peak memory is not shared."""
    rows = []
    for path in ("params.yaml", *sorted(f"presets/{file.name}" for file in (ROOT / "presets").glob("*.yaml"))):
        ran = subprocess.run([sys.executable, "-m", __spec__.name, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if ran.returncode:
            sys.exit(f"error: {path} failed; see its message above")
        values = [line.split("\t") for line in ran.stdout.splitlines() if "\t" in line]
        rows += [Row(what, float(value), unit) for what, value, unit in values]
    write("presets", TITLE, rows)


def measure(path: str) -> Iterator[Row]:
    """Time a few training steps with the parameter file `path`, as `tinylm plan` does."""
    run = workload_of(read_params(ROOT / path))
    speed = probe(run, resolve_hardware(run.runtime, run.train.precision), compiled=True).tokens_per_second
    yield Row(f"{path}: parameters", run.size.total / 1e6, "million")
    yield Row(f"{path}: training", run.tokens / 1e6, "million tokens")
    yield Row(f"{path}: operations", run.flop / 1e15, "PFLOP")
    yield Row(f"{path}: speed", speed, "tokens/s")
    yield Row(f"{path}: time", run.tokens / speed / 3600, "hours")
    yield Row(f"{path}: memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")


if __name__ == "__main__":
    for row in measure(sys.argv[1]):
        print(row.what, row.value, row.unit, sep="\t")
