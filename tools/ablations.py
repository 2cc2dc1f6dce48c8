"""Measure what each choice of presets/quick.yaml is worth; write presets/ablations.json and presets/ablations.md.

`make ablations` trains the preset and, for each of CHANGES, the preset with that change: three seeds each, at each
budget of tokens, as the experiments of `tinylm sweep`. What has been run is not run again, also after Ctrl-C.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinylm.base import atomic, yaml12
from tinylm.base.errors import UserError, explain
from tinylm.base.params import PARAMS_FILE, read_params
from tinylm.base.reading import read_object
from tinylm.experiments.compare import as_json, read_run
from tinylm.experiments.history import find_experiment
from tinylm.model.params import ModelParams
from tinylm.train.params import TrainParams
from tools.markdown import ROOT, table

PRESET, RESULTS, PAGE = (ROOT / "presets" / name for name in ("quick.yaml", "ablations.json", "ablations.md"))
SEEDS = (1, 2, 3)
BUDGETS = {"4M": 4_096_000, "20M": 20_480_000}  # training tokens
DATA = ("download.source=files", "download.paths=[stories.txt]")
REMEDY = "restore it: git checkout presets/ablations.json"


@dataclass(frozen=True)
class Change:
    """A difference from the preset."""

    name: str  # in the names of its experiments
    meaning: str
    settings: tuple[str, ...]

    @property
    def title(self) -> str:
        """The change as a row of the table has it."""
        return f"{self.meaning} (`{' '.join(self.settings)}`)" if self.settings else self.meaning


PRESET_ITSELF = Change("preset", "the preset", ())
CHANGES = (
    Change("random", "sequences drawn anywhere, with replacement", ("train.sequences=random",)),
    Change("beta2", "AdamW forgets squared gradients ten times as fast", ("train.beta2=0.95",)),
    Change("batch", "twice the batch, half the steps", ("train.batch_size=16",)),
    Change("decay", "no weight decay", ("train.weight_decay=0",)),
    Change("heads", "four heads instead of two", ("model.heads=4",)),
    Change("untied", "an output projection of its own", ("model.tie_embeddings=false",)),
    Change("muon-low", "a lower rate of Muon", ("train.muon_lr=0.014",)),
    Change("muon-high", "a higher rate of Muon", ("train.muon_lr=0.03",)),
    Change("adamw-low", "a lower rate of AdamW", ("train.peak_lr=0.01",)),
    Change("adamw-high", "a higher rate of AdamW", ("train.peak_lr=0.04",)),
    Change("small-vocabulary", "half the vocabulary", ("train_tokenizer.vocab_size=2048",)),
    Change("large-vocabulary", "twice the vocabulary", ("train_tokenizer.vocab_size=8192",)),
)
Results = dict[str, dict[str, Any]]  # by budget and name of the change: a comparison, as `tinylm compare --json` has it


def main() -> int:
    parser = argparse.ArgumentParser(prog="make ablations", description=__doc__)
    names = [change.name for change in CHANGES]
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=list(BUDGETS), help="default: all")
    parser.add_argument("--changes", nargs="*", choices=names, default=names, metavar="NAME", help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="trials at the same time (default: 1)")
    parser.add_argument("--show", action="store_true", help="run nothing, only write the table")
    options = parser.parse_args()
    try:
        results = read_results()
        if not options.show:
            check_params()
            for budget in options.budgets:
                measure(budget, [change for change in CHANGES if change.name in options.changes], options.jobs, results)
        atomic.write_text(PAGE, page(results))
    except (UserError, OSError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


def read_results() -> Results:
    """Return what presets/ablations.json holds."""
    return read_object(RESULTS, REMEDY) if RESULTS.exists() else {}


def check_params() -> None:
    """Raise UserError unless params.yaml is the preset, which every row differs from in one way."""
    mine, preset = (yaml12.read(path, REMEDY) for path in (ROOT / PARAMS_FILE, PRESET))
    if mine | {"runtime": None} != preset | {"runtime": None}:  # it changes no result
        raise UserError(f"{PARAMS_FILE}: expected the preset; copy it: cp {PRESET.relative_to(ROOT)} {PARAMS_FILE}")


def measure(budget: str, changes: Sequence[Change], jobs: int, results: Results) -> None:
    """Train the preset and the changes at a budget, as far as that has not been done, and add them to the results."""
    train(budget, PRESET_ITSELF, jobs)
    preset = [read_run(name) for name in experiments(budget, PRESET_ITSELF)]
    for change in changes:
        train(budget, change, jobs)
        changed = [read_run(name) for name in experiments(budget, change)]
        results.setdefault(budget, {})[change.name] = as_json(preset, changed)
        atomic.write_json(RESULTS, results)
        atomic.write_text(PAGE, page(results))


def train(budget: str, change: Change, jobs: int) -> None:
    """Run the sweep of one row. Raises UserError if it fails."""
    words = sweep(budget, change)
    print("tinylm", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "tinylm", *words, "--jobs", str(jobs)], cwd=ROOT).returncode
    missing = [name for name in experiments(budget, change) if find_experiment(name) is None]
    if code or missing:
        raise UserError(f"make ablations: {', '.join(missing) or 'a sweep'} did not finish; the same command continues")


def sweep(budget: str, change: Change) -> list[str]:
    """Return the arguments of `tinylm` that train one row of the table at one budget."""
    preset, changed = read_params(PRESET), dict(setting.split("=", 1) for setting in change.settings)
    batch = int(changed.get("train.batch_size", preset[TrainParams].batch_size))
    context = int(changed.get("model.context", preset[ModelParams].context))
    steps = BUDGETS[budget] // (batch * context)
    seeds = ",".join(map(str, SEEDS))
    return [
        "sweep",
        "--name",
        row_name(budget, change),
        f"train.seed={seeds}",
        f"train.steps={steps}",
        *DATA,
        *change.settings,
    ]


def row_name(budget: str, change: Change) -> str:
    """Return the name of the sweep of one row at one budget."""
    return f"quick-{budget.lower()}-{change.name}"


def experiments(budget: str, change: Change) -> list[str]:
    """Return the names of the experiments of one row at one budget, one for each seed."""
    return [f"{row_name(budget, change)}-{number:03d}" for number in range(len(SEEDS))]


def page(results: Results) -> str:
    """Return the text of presets/ablations.md."""
    budgets = [budget for budget in BUDGETS if results.get(budget)]
    head = ("change", *(f"{budget} tokens, {what}" for budget in budgets for what in ("bits per byte", "difference")))
    first = [cell for budget in budgets for cell in (f"{_preset(results[budget]):.4f}", "")]
    rows = [(PRESET_ITSELF.meaning, *first)]
    for change in CHANGES:
        row = [results[budget].get(change.name) for budget in budgets]
        if any(row):
            rows.append((change.title, *(cell for one in row for cell in _cells(one))))
    lines = [
        "<!-- tools/ablations.py writes this page (make ablations). -->",
        "",
        "# What the choices of `quick.yaml` are worth",
        "",
        "The preset with one change at a time, on 10 MB of real TinyStories in `stories.txt`, of which one story in",
        "fifty is held out. A row is the mean over the seeds 1, 2, 3; a difference is the row minus the preset, with",
        "the 95% interval of `tinylm compare --seeds`, over stories and seeds: above zero, the preset is better. At 20",
        "million tokens each story is seen about eight times. A row without figures there holds for short runs only.",
        "",
        *table(head, rows),
        "",
        "These commands make the table. `make ablations` runs them; what has been run is not run again:",
        "",
        "```sh",
        f"cp {PRESET.relative_to(ROOT)} {PARAMS_FILE}",
        *(
            "tinylm " + " ".join(map(shlex.quote, sweep(budget, change)))
            for budget in budgets
            for change in (PRESET_ITSELF, *(change for change in CHANGES if change.name in results[budget]))
        ),
        "make ablations ARGS=--show",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _preset(comparisons: dict[str, Any]) -> float:
    return float(next(iter(comparisons.values()))["a"]["bits_per_byte"])


def _cells(comparison: dict[str, Any] | None) -> tuple[str, str]:
    if comparison is None:
        return "", ""
    d = comparison["difference"]
    return f"{comparison['b']['bits_per_byte']:.4f}", f"{d['bits_per_byte']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})"


if __name__ == "__main__":
    sys.exit(main())
