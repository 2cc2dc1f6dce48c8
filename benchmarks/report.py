"""Write the results of a benchmark: a table on the terminal, and Markdown and JSON in `benchmarks/results/`."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from tinylm.base import atomic
from tinylm.compute.device import bf16_units

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "tokenizers", "numpy", "pyarrow", "transformers")


@dataclass(frozen=True)
class Row:
    """One line of a table. Ratios are speeds relative to a baseline: the first row of its kind, and a tuned one."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    note: str = ""
    tuned_ratio: float | None = None


def machine() -> dict[str, str | int]:
    """Return a description of the machine and the versions of the libraries."""
    return {
        "processor": _processor(),
        "matrix arithmetic": ", ".join(bf16_units()) or "fp32",
        **({"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(section: str, title: str, rows: list[Row]) -> None:
    """Print the table and write it to `results/SECTION.md` and `.json`."""
    table = to_markdown(rows)
    print(f"\n{title}\n\n{table}")
    about = machine()
    facts = ", ".join(f"{key} {value}" for key, value in about.items())
    atomic.write_text(RESULTS / f"{section}.md", f"# {title}\n\n{facts}\n\n{table}")
    atomic.write_json(RESULTS / f"{section}.json", {"machine": about, "rows": [asdict(row) for row in rows]})


def to_markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, with a column for the tuned baseline where there is one."""
    tuned = any(row.tuned_ratio is not None for row in rows)
    lines = [["what", "value", "unit", "times the baseline", *(["times the tuned baseline"] if tuned else []), ""]]
    lines.append(["---", "---:", "---", "---:", *(["---:"] if tuned else []), "---"])
    for row in rows:
        ratios = [_ratio(row.ratio), *([_ratio(row.tuned_ratio)] if tuned else [])]
        lines.append([row.what, _number(row.value), row.unit, *ratios, row.note])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
