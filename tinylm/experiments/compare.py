"""Compare two models, A and B, by their losses on the same validation stories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinylm.base.errors import UserError
from tinylm.base.params import read_params
from tinylm.base.reading import parse_numbers
from tinylm.experiments import history
from tinylm.experiments.history import read_params_at
from tinylm.experiments.significance import Comparison, Estimate, Floats, compare

STORIES = "artifacts/evaluation/stories.csv"
REMEDY = "score its model again: dvc repro -f evaluate"
# Sections that determine the model and its score; `generate` and `runtime` change neither.
SECTIONS = ("download", "train_tokenizer", "pretokenize", "model", "train", "evaluate")
ONE_RUN_EACH = (
    "one run of each: the interval covers the noise of the stories but not of the seeds, so it compares these two "
    "models and not their settings; to compare settings, run both with several seeds (train.seed=1,2,3) and add --seeds"
)


@dataclass(frozen=True)
class Run:
    """The scores of one run: summed loss [nats] and length [bytes] of each validation story, as arrays (stories,)."""

    name: str
    commit: str | None
    nats: Floats
    text_bytes: Floats


def is_model_folder(name: str) -> bool:
    """Return whether `name` is the path of a model folder, and not the name of a run."""
    return (Path(name) / "config.json").is_file()


def read_run(name: str, end_of_text: str | None = None) -> Run:
    """Read the per-story losses of an experiment, a git revision or the workspace, or score a model folder.

    `end_of_text` is the token that ends a story, for folders whose tokenizer has no <|endoftext|>. Raises UserError if
    the name is unknown, or the run has no bits per byte or no scored stories.
    """
    if is_model_folder(name):
        from tinylm.experiments.folder_score import score_folder  # loads torch, which takes seconds
        from tinylm.model.own_tokenizer import lacks_end_of_text

        token = end_of_text if lacks_end_of_text(Path(name)) else None
        stories = score_folder(Path(name), read_params(), token).stories
        assert stories.text_bytes is not None  # a lossy tokenizer is refused
        return Run(name, None, stories.nats, stories.text_bytes.astype(np.float64))
    commit = history.resolve(name)
    columns = ("nats", "text_bytes")
    if history.read_score(commit)["bits_per_byte"] is None:
        raise UserError(
            f"{name}: expected bits per byte, found none, because its tokenizer is lossy; compare runs with lossless "
            "tokenizers (pretokenize.lossy: false)"
        )
    rows = parse_numbers(history.read_cached(name, commit, STORIES), columns, f"{name}: {STORIES}", REMEDY)
    if not rows:
        raise UserError(f"{name}: {STORIES}: expected one row per validation story, found none; {REMEDY}")
    nats, text_bytes = (np.array([row[column] for row in rows]) for column in columns)
    return Run(name, commit, nats, text_bytes)


def with_seeds(name: str) -> list[str]:
    """Return `name` and the experiments from the same commit that differ from it only in train.seed.

    A model folder stands alone, since it does not tell how it was trained.
    """
    if is_model_folder(name):
        return [name]
    commit = history.resolve(name)
    params, found = _without_seed(read_params_at(commit)), [name]
    seeds = {_seed(commit)}
    listed = history.list_experiments()
    baselines = {e.baseline for e in listed if e.commit == commit} or {commit or history.head_commit()}
    for other in sorted(listed, key=lambda experiment: experiment.name):
        seed = _seed(other.commit)
        if other.baseline in baselines and seed not in seeds and _without_seed(read_params_at(other.commit)) == params:
            found.append(other.name)
            seeds.add(seed)
    return found


def check_group(runs: Sequence[Run]) -> None:
    """Raise UserError if runs of one model differ in more than the seed, or two of them have the same seed."""
    if len(runs) == 1:
        return
    if folders := [run.name for run in runs if is_model_folder(run.name)]:
        raise UserError(f"{folders[0]}: a model folder does not tell its train.seed; compare it alone, as A or as B")
    first = read_params_at(runs[0].commit)
    seeds: dict[int, str] = {}
    for run in runs:
        params = read_params_at(run.commit)
        if key := _difference(_without_seed(first), _without_seed(params)):
            raise UserError(
                f"{runs[0].name} and {run.name} differ in {key}; runs of one model may differ only in train.seed"
            )
        if (seed := params["train"]["seed"]) in seeds:
            raise UserError(f"{seeds[seed]} and {run.name} both have train.seed={seed}; leave one of them out")
        seeds[seed] = run.name


def _seed(commit: str | None) -> Any:
    return read_params_at(commit)["train"]["seed"]


def _without_seed(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    flat = {f"{section}.{key}": value for section in SECTIONS for key, value in params[section].items()}
    del flat["train.seed"]
    return flat


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    return next((key for key in a.keys() | b.keys() if a.get(key) != b.get(key)), None)


def report(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    """Return the lines of the comparison. Raises UserError if the runs were scored on different stories."""
    result = _compare(a, b)
    return [
        _line("A", a, result.a),
        _line("B", b, result.b),
        result.verdict,
        f"B is better on {result.better_stories:.0%} of {len(a[0].text_bytes)} validation stories",
        *_seed_notes(a, b),
    ]


def as_json(a: Sequence[Run], b: Sequence[Run]) -> dict[str, Any]:
    """Return the comparison for programs; scores and the difference (B - A) in bits per byte.

    Raises UserError if the runs were scored on different stories.
    """
    result = _compare(a, b)
    difference = result.difference
    return {
        "a": {"runs": [run.name for run in a], **_numbers(result.a)},
        "b": {"runs": [run.name for run in b], **_numbers(result.b)},
        "difference": _numbers(difference),
        "better": "b" if difference.below_zero else "a" if difference.above_zero else None,
        "verdict": result.verdict,
        "stories": len(a[0].text_bytes),
        "stories_better_in_b": result.better_stories,
        "notes": _seed_notes(a, b),
    }


def _compare(a: Sequence[Run], b: Sequence[Run]) -> Comparison:
    first = a[0]
    for run in (*a, *b):
        if not np.array_equal(run.text_bytes, first.text_bytes):
            raise UserError(
                f"{first.name} and {run.name} were scored on different validation stories "
                f"({len(first.text_bytes)} and {len(run.text_bytes)} of them); compare runs on the same corpus"
            )
    return compare([run.nats for run in a], [run.nats for run in b], first.text_bytes)


def _numbers(score: Estimate) -> dict[str, float]:
    return {"bits_per_byte": score.value, "low": score.interval.low, "high": score.interval.high}


def _line(letter: str, runs: Sequence[Run], score: Estimate) -> str:
    low, high = score.interval.low, score.interval.high
    names = " ".join(run.name for run in runs)
    return f"{letter}: {score.value:.4f} bits per byte (95%: {low:.4f} to {high:.4f})  {names}"


def _seed_notes(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    if len(a) > 1 and len(b) > 1:
        return []
    if len(a) > 1 or len(b) > 1:
        single = "A" if len(a) == 1 else "B"
        return [f"{single} has one run: its variance over seeds is assumed to equal that of the other model"]
    return [ONE_RUN_EACH]
