"""Compare the plan of a finished run with what it recorded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from tinylm.base.durations import show
from tinylm.compute.compiling import compile_function, missing_for_compile
from tinylm.compute.device import peak_memory_mb
from tinylm.compute.memory import gigabytes
from tinylm.planning.estimate import Estimate


@dataclass(frozen=True)
class Measured:
    """What a finished run recorded."""

    seconds: float  # of training, without compilation
    memory: float  # its peak [bytes]
    bits: float | None  # per byte; None if the tokenizer is lossy


@dataclass(frozen=True)
class Comparison:
    """An expected value beside the measured one; either is None where it is not known."""

    run: str
    quantity: str
    expected: float | None
    measured: float | None

    @property
    def error(self) -> float | None:
        """Of the expected value, as a share of the measured one."""
        return self.expected / self.measured - 1 if self.expected is not None and self.measured else None


def bare_process() -> tuple[float, float]:
    """Return the memory of a process with the code of training, and with the compiler too [bytes].

    It is the peak of this process, so call this before any model is built.
    """
    import tinylm.train.run  # noqa: F401  (with matplotlib and all else that the stage loads)

    cpu = torch.device("cpu")
    alone = 1e6 * peak_memory_mb(cpu)
    if missing_for_compile(cpu) is None:
        compile_function(torch.sin)(torch.zeros(4))
    return alone, 1e6 * peak_memory_mb(cpu)


def compare(name: str, plan: Estimate, measured: Measured, bare: float) -> Iterator[Comparison]:
    """Yield the comparisons of one run. `bare` is the process alone [bytes], which the plan leaves out."""
    yield Comparison(name, "time", plan.seconds, measured.seconds)
    yield Comparison(name, "memory", plan.memory.total + bare, measured.memory)
    yield Comparison(name, "bits per byte", plan.bits, measured.bits)


def table(comparisons: Iterable[Comparison]) -> list[str]:
    """Return a Markdown table of the comparisons."""
    lines = ["| run | quantity | expected | measured | error |", "| --- | --- | ---: | ---: | ---: |"]
    for row in comparisons:
        error = (
            "" if row.error is None else f"{row.error:+.0%}" if row.quantity != "bits per byte" else f"{row.error:+.1%}"
        )
        cells = [row.run, row.quantity, _shown(row.quantity, row.expected), _shown(row.quantity, row.measured), error]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _shown(quantity: str, value: float | None) -> str:
    if value is None:
        return "not known"
    if quantity == "time":
        return show(value)
    return gigabytes(round(value)) if quantity == "memory" else f"{value:.4f}"
