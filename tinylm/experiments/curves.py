"""Read the learning curves of runs: the losses over steps, tokens and seconds of training.

The seconds are summed from plots/speed.csv: those of the steps, with the compilation in the first one, and without
validation and saving. All files are in git, so neither DVC's cache nor a remote is needed.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from re import sub

import numpy as np
from numpy.typing import NDArray

from tinylm.base.errors import UserError
from tinylm.base.reading import parse_numbers
from tinylm.experiments import history
from tinylm.experiments.committed import find_output, find_value, read_lock

FOLDER = Path("comparisons")  # of pictures and pages, ignored by git
TRAIN, VAL, SPEED = "plots/train.csv", "plots/val.csv", "plots/speed.csv"
REMEDY = "train it again: dvc repro -f train"
MEASURES = {"bits_per_byte": "bits per byte", "loss": "nats per token"}
AXES = ("step", "tokens", "seconds")

Row = dict[str, float]  # step, tokens, seconds, loss, and bits_per_byte unless the tokenizer is lossy
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The losses of a run."""

    name: str
    train: list[Row]
    val: list[Row]
    tokenizer: str | None  # checksum; None: unknown
    stories: tuple[str | None, int | None]  # which stories validate: the corpus' checksum and train.val_stories


def read_curve(name: str) -> Curve:
    """Read the losses of an experiment, a git revision or the workspace.

    Raises UserError if the name is unknown, or a file is missing, empty or invalid.
    """
    commit = history.resolve(name)
    train, val = (_losses(_text(name, commit, path), f"{name}: {path}") for path in (TRAIN, VAL))
    speed = _rows(_text(name, commit, SPEED), ("step", "tokens_per_second"), f"{name}: {SPEED}")
    marks, passed = _clock(f"{name}: {SPEED}", speed, train, max(train[-1]["tokens"], val[-1]["tokens"]))
    for row in (*train, *val):
        row["seconds"] = float(np.interp(row["tokens"], marks, passed))
    lock = read_lock(commit)
    stories = find_output(lock, "artifacts/corpus"), find_value(lock, "train", "train.val_stories")
    return Curve(name, train, val, find_output(lock, "artifacts/tokenizer"), stories)


def _clock(source: str, speed: Sequence[Row], train: Sequence[Row], end: float) -> tuple[Floats, Floats]:
    """Return counts of tokens from 0 to `end`, and the seconds of training after each of them."""
    steps, rates = (np.array([row[column] for row in speed]) for column in ("step", "tokens_per_second"))
    logged_steps, logged_tokens = ([0.0, *(row[column] for row in train)] for column in ("step", "tokens"))
    tokens = np.concatenate([[0.0], np.interp(steps, logged_steps, logged_tokens)])
    spans = np.diff(tokens)
    if not ((spans > 0).all() and (rates > 0).all()):  # not all: NaN, too
        raise UserError(f"{source}: expected rising steps, and speeds above 0; {REMEDY}")
    seconds = np.concatenate([[0.0], np.cumsum(spans / rates)])
    if end > tokens[-1]:  # a run that was resumed and ended before its next step has not measured its last ones
        seconds = np.append(seconds, seconds[-1] + (end - tokens[-1]) / rates[-1])
        tokens = np.append(tokens, end)
    return tokens, seconds


def _losses(text: str, source: str) -> list[Row]:
    rows = _rows(text, ("step", "tokens", "loss"), source)
    bits = [row.get("bits_per_byte") for row in csv.DictReader(StringIO(text))]
    return _rows(text, ("step", "tokens", "loss", "bits_per_byte"), source) if all(bits) else rows


def _rows(text: str, columns: Sequence[str], source: str) -> list[Row]:
    """Parse the rows of a CSV file; `source` is used in messages."""
    if rows := parse_numbers(text, columns, source, REMEDY):
        return rows
    raise UserError(f"{source}: expected rows of a run, found none; {REMEDY}")


def _text(name: str, commit: str | None, path: str) -> str:
    try:
        return history.read_file(commit, path)
    except UserError:
        if commit is None:
            raise
        raise UserError(f"{name}: its commit {commit[:7]} has no {path}; {REMEDY}") from None


def choose_measure(curves: Sequence[Curve]) -> str:
    """Return the loss by which runs can be compared, a key of MEASURES: bits per byte if all of them have it.

    Raises UserError if some have none and their tokenizers differ: losses per token are not comparable then.
    """
    if all("bits_per_byte" in row for curve in curves for row in (*curve.train, *curve.val)):
        return "bits_per_byte"
    first = curves[0]
    for other in curves[1:]:
        if other.tokenizer is None or other.tokenizer != first.tokenizer:
            raise UserError(
                f"{first.name} and {other.name}: expected bits per byte or the same tokenizer, got neither, and losses "
                "per token of different tokenizers cannot be compared; use lossless ones (pretokenize.lossy: false)"
            )
    return "loss"


def cautions(curves: Sequence[Curve]) -> list[str]:
    """Return a line for each run that was validated on other stories than the first one."""
    first = curves[0]
    return [
        f"Caution: {other.name} was validated on other stories than {first.name}, so their losses are not comparable."
        for other in curves[1:]
        if other.stories != first.stories
    ]


def place(names: Sequence[str], suffix: str) -> Path:
    """Return the path of a comparison of these runs."""
    return FOLDER / ((sub(r"[^\w-]+", "_", "_".join(names)).strip("_") or "runs") + suffix)
