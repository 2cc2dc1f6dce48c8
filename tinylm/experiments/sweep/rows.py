"""Collect the settings, states and scores of experiments: those of a sweep, or any others in this repository."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE
from tinylm.experiments import history
from tinylm.experiments.history import Experiment
from tinylm.experiments.significance import Estimate, mean_over_seeds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SEED = "train.seed"
ORDER = ("complete", "running", "interrupted", "pruned", "queued", "failed")


@dataclass(frozen=True)
class Row:
    """An experiment. `bits` are its bits per byte: the final score, or the last validation if it was pruned."""

    name: str
    settings: dict[str, Any]
    state: str
    bits: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    log: frozenset[str] = frozenset()  # parameters sampled on a logarithmic scale


def as_text(value: Any) -> str:
    """Format the value of a setting for tables and plots."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def collect(names: Sequence[str]) -> list[Row]:
    """Return the rows of sweeps, experiments and patterns, best first. Raises UserError if nothing has a name."""
    from tinylm.experiments.sweep.study import database

    rows = [row for name in names if database(name).is_file() for row in _sweep(name)]
    patterns = [name for name in names if not database(name).is_file()]
    if patterns or not names:
        rows += _shown(patterns)
    rows.sort(key=lambda row: (ORDER.index(row.state), row.bits is None, row.bits))
    # DVC lists a failed task of its queue next to the one of the same name that was run again; keep the better row.
    return [row for index, row in enumerate(rows) if row.name not in {before.name for before in rows[:index]}]


def best_trial(name: str) -> str:
    """Return the best complete trial of a sweep. Raises UserError if there is no such sweep or no such trial."""
    from tinylm.experiments.sweep.study import FOLDER, database

    if not database(name).is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.db"))) or "none"
        raise UserError(f"{name}: no such sweep in {FOLDER}/; there are: {known}")
    best = collect([name])[:1]
    if not best or best[0].state != "complete" or best[0].bits is None:
        raise UserError(f"{name}: no trial of this sweep is complete; the command that started it continues it")
    return best[0].name


def _sweep(name: str) -> list[Row]:
    from tinylm.experiments.sweep.listed import SEARCH, ListedStudy
    from tinylm.experiments.sweep.lock import is_running
    from tinylm.experiments.sweep.space import Range, parse_space, parsed
    from tinylm.experiments.sweep.study import open_study

    study = open_study(name, None, {})
    if study.plan.search == SEARCH:
        study = ListedStudy(study)
    else:
        study.space = parse_space([f"{key}={values}" for key, values in study.plan.space.items()])
    log = frozenset(key for key, values in study.space.items() if isinstance(values, Range) and values.log)
    existing = {experiment.name: experiment for experiment in reversed(history.list_experiments())}
    unfinished = "running" if is_running(name) else "interrupted"
    rows = []
    for trial in study.trials:
        settings = {key: parsed(text) for key, text in study.settings(trial).items()}
        experiment = study.experiment(trial)
        rows.append(Row(experiment, settings, log=log, **_outcome(trial, existing.get(experiment), unfinished)))
    return rows


def _outcome(trial: "FrozenTrial", found: Experiment | None, unfinished: str) -> dict[str, Any]:
    """Return the state, score and note of a trial; `unfinished` is the state of a trial that has not ended."""
    last, error = trial.user_attrs.get("last") or {}, trial.user_attrs.get("error")
    seen: dict[str, Any] = {"bits": last.get("bits_per_byte"), "note": f"at step {last['step']}" if last else ""}
    if trial.state.name == "COMPLETE":
        bits, low, high = _score(found, trial.value)
        return {"state": "complete", "bits": bits, "low": low, "high": high}
    if trial.state.name == "RUNNING":
        return {"state": unfinished, **seen}
    if trial.state.name == "WAITING":
        return {"state": "queued"}
    return {"state": "failed", "note": error} if error is not None else {"state": "pruned", **seen}


def _score(found: Experiment | None, value: float | None) -> tuple[float | None, float | None, float | None]:
    """Return bits per byte and the interval; the interval is None if the experiment has been removed."""
    if found is None:
        return value, None, None
    return _bits(history.read_score(found.commit))


def _bits(score: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    interval = score.get("range95", {}).get("bits_per_byte") or {}
    return score["bits_per_byte"], interval.get("low"), interval.get("high")


def _shown(patterns: Sequence[str]) -> list[Row]:
    """Return the experiments that match; without patterns, HEAD and its experiments.

    Their settings are the parameters in which they differ.
    """
    head, found = history.show()
    if patterns:
        found = _named(found, patterns)
    elif found and _score_shown(head):
        found = [head, *found]
    chosen = [(shown, _flat(shown)) for shown in found]
    known = [params for _, params in chosen if params]
    keys = [key for key in (known[0] if known else {}) if not key.startswith("runtime.")]
    varied = [key for key in keys if any(params.get(key) != known[0][key] for params in known)]
    return [_shown_row(shown, {key: params.get(key) for key in varied}) for shown, params in chosen]


def _named(found: list[dict[str, Any]], patterns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the matches in `found` and among experiments of other commits; of several with one name, the newest."""
    here = {shown["name"] for shown in found}
    elsewhere = {e.name: e for e in reversed(history.list_experiments()) if e.name not in here}
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for name in here | elsewhere.keys()):
            names = ", ".join(sorted(filter(None, here | elsewhere.keys()))) or "none"
            raise UserError(f"{pattern}: neither a sweep nor an experiment; there are: {names}")
    named = [shown for shown in found if _matches(shown["name"], patterns)]
    return [*named, *(history.as_shown(e) for e in elsewhere.values() if _matches(e.name, patterns))]


def _matches(name: str | None, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name or "", pattern) for pattern in patterns)


def _flat(shown: Mapping[str, Any]) -> dict[str, Any]:
    sections = ((shown.get("data") or {}).get("params") or {}).get(PARAMS_FILE, {}).get("data") or {}
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def _shown_row(shown: Mapping[str, Any], settings: dict[str, Any]) -> Row:
    """Make the row of an experiment. One that has not ended holds its baseline's metrics, which are ignored."""
    name, state = shown["name"] or shown["rev"][:7], (shown.get("executor") or {}).get("state") or "success"
    if state != "success":
        return Row(name, settings, state if state in ORDER else "failed")
    if score := _score_shown(shown):
        return Row(name, settings, "complete", *_bits(score))
    return Row(name, settings, "failed", note=f"no {history.SCORE}")


def _score_shown(shown: Mapping[str, Any]) -> Mapping[str, Any] | None:
    score = ((shown.get("data") or {}).get("metrics") or {}).get(history.SCORE, {}).get("data") or {}
    return score if "bits_per_byte" in score else None


@dataclass(frozen=True)
class Group:
    """Complete experiments that differ only in their seed."""

    settings: dict[str, Any]
    names: list[str]
    score: Estimate


def group_seeds(rows: Iterable[Row]) -> list[Group]:
    """Group the rows that differ only in their seed; return groups of at least two, best mean first."""
    groups: dict[str, list[tuple[Row, float]]] = {}
    for row in rows:
        if row.state == "complete" and row.bits is not None and SEED in row.settings:
            groups.setdefault(repr(_without_seed(row)), []).append((row, row.bits))
    found = [
        Group(_without_seed(members[0][0]), [row.name for row, _ in members], mean_over_seeds([b for _, b in members]))
        for members in groups.values()
        if len(members) > 1
    ]
    return sorted(found, key=lambda group: group.score.value)


def _without_seed(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.settings.items() if key != SEED}
