"""Whether B is better than A, by the losses of the same validation stories of their runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinylm.base.errors import UserError
from tinylm.base.reading import parse_numbers
from tinylm.experiments import history
from tinylm.experiments.history import read_params_at
from tinylm.experiments.significance import Estimate, Floats, compare

STORIES = "artifacts/evaluation/stories.csv"
REMEDY = "score its model again: dvc repro -f evaluate"
# Sections that what a model is depends on; `generate` and `runtime` change nothing of its score.
SECTIONS = ("download", "train_tokenizer", "pretokenize", "model", "train", "evaluate")
ONE_RUN_EACH = (
    "one run of each: the interval knows the noise of the stories and not that of the seeds, so it is about these "
    "two models and not about their settings; for that run both with several (train.seed=1,2,3) and give --seeds"
)


@dataclass(frozen=True)
class Run:
    name: str
    commit: str | None
    nats: Floats
    text_bytes: Floats


def read_run(name: str) -> Run:
    """The losses of each validation story, of an experiment, a revision or the workspace."""
    commit = history.resolve(name)
    columns = ("nats", "text_bytes")
    if history.read_score(commit)["bits_per_byte"] is None:
        raise UserError(
            f"{name}: has no bits per byte, since its tokenizer does not give the text back; compare runs with "
            "lossless tokenizers (pretokenize.lossy: false)"
        )
    rows = parse_numbers(history.read_cached(name, commit, STORIES), columns, f"{name}: {STORIES}", REMEDY)
    if not rows:
        raise UserError(f"{name}: {STORIES}: expected a row for each validation story, found none; {REMEDY}")
    nats, text_bytes = (np.array([row[column] for row in rows]) for column in columns)
    return Run(name, commit, nats, text_bytes)


def with_seeds(name: str) -> list[str]:
    """`name`, and the experiments made from the same commit that differ from it in train.seed alone."""
    commit = history.resolve(name)
    mine, found = _but_seed(read_params_at(commit)), [name]
    seeds = {_seed(commit)}
    listed = history.list_experiments()
    baselines = {e.baseline for e in listed if e.commit == commit} or {commit or history.head_commit()}
    for other in sorted(listed, key=lambda experiment: experiment.name):
        seed = _seed(other.commit)
        if other.baseline in baselines and seed not in seeds and _but_seed(read_params_at(other.commit)) == mine:
            found.append(other.name)
            seeds.add(seed)
    return found


def check_group(runs: Sequence[Run]) -> None:
    """Raise UserError for runs of one model that differ in more than the seed, or are the same run twice."""
    first = read_params_at(runs[0].commit)
    seeds: dict[int, str] = {}
    for run in runs:
        if len(runs) > 1:
            mine = read_params_at(run.commit)
            if key := _difference(_but_seed(first), _but_seed(mine)):
                raise UserError(
                    f"{runs[0].name} and {run.name} differ in {key}; runs of one model differ in train.seed"
                )
            if (seed := mine["train"]["seed"]) in seeds:
                raise UserError(f"{seeds[seed]} and {run.name} are both of train.seed={seed}: the same run twice")
            seeds[seed] = run.name


def _seed(commit: str | None) -> Any:
    return read_params_at(commit)["train"]["seed"]


def _but_seed(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    flat = {f"{section}.{key}": value for section in SECTIONS for key, value in params[section].items()}
    del flat["train.seed"]
    return flat


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    return next((key for key in a.keys() | b.keys() if a.get(key) != b.get(key)), None)


def report(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    """Lines that say who is better. Raises UserError where the stories are not the same ones."""
    first = a[0]
    for run in (*a, *b):
        if not np.array_equal(run.text_bytes, first.text_bytes):
            raise UserError(
                f"{first.name} and {run.name} were scored on other validation stories "
                f"({len(first.text_bytes)} and {len(run.text_bytes)} of them); compare runs of the same corpus"
            )
    result = compare([run.nats for run in a], [run.nats for run in b], first.text_bytes)
    return [
        _line("A", a, result.a),
        _line("B", b, result.b),
        result.verdict,
        f"B is better on {result.better_stories:.0%} of {len(first.text_bytes)} validation stories",
        *_what_seeds_say(a, b),
    ]


def _line(letter: str, runs: Sequence[Run], score: Estimate) -> str:
    low, high = score.interval.low, score.interval.high
    names = " ".join(run.name for run in runs)
    return f"{letter}: {score.value:.4f} bits per byte (95%: {low:.4f} to {high:.4f})  {names}"


def _what_seeds_say(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    if len(a) > 1 and len(b) > 1:
        return []
    if len(a) > 1 or len(b) > 1:
        single = "A" if len(a) == 1 else "B"
        return [f"{single} has one run: its seeds are taken to vary as much as those of the other"]
    return [ONE_RUN_EACH]
