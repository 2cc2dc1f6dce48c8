"""Read the outputs of the stages for the report. Does not import torch, so the report is built in a moment."""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.reading import parse_json, read_object, read_text

REMEDY = "run dvc repro --force, or dvc pull on a new machine"
Row = dict[str, float | None]  # a line of a CSV file; None: empty or not finite


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run's files; those below the line are empty if a run did not write them."""

    training: dict[str, Any]  # provenance of the model
    download: dict[str, Any]
    train_tokenizer: dict[str, Any]
    pretokenize: dict[str, Any]
    train: dict[str, Any]
    generate: dict[str, Any]
    evaluate: dict[str, Any]
    train_rows: list[Row]
    val_rows: list[Row]
    # ---
    stories: list[dict[str, Any]]  # of the model, as tinylm.generate.stories.Story; the main temperature first
    progress: list[dict[str, Any]]  # stories of the checkpoints
    probabilities: list[dict[str, Any]]  # of every token of one story per prompt
    by_step: list[Row]  # metrics of the stories
    by_temperature: list[Row]  # metrics of the stories
    by_position: list[Row]  # loss
    calibration: list[Row]


def read_run(root: Path) -> RunFiles:
    """Read a run's files below `root`. Raises UserError if a required file is missing, or any file is invalid."""
    return RunFiles(
        training=_object(root / "artifacts/model/training.json"),
        download=_object(root / "metrics/download.json"),
        train_tokenizer=_object(root / "metrics/train_tokenizer.json"),
        pretokenize=_object(root / "metrics/pretokenize.json"),
        train=_object(root / "metrics/train.json"),
        generate=_object(root / "metrics/generate.json"),
        evaluate=_object(root / "metrics/evaluate.json"),
        train_rows=_csv(root / "plots/train.csv"),
        val_rows=_csv(root / "plots/val.csv"),
        stories=_if_there(root / "artifacts/stories/stories.jsonl", _json_lines),
        progress=_if_there(root / "artifacts/stories/progress.jsonl", _json_lines),
        probabilities=_if_there(root / "artifacts/stories/probabilities.json", _json_list),
        by_step=_if_there(root / "plots/stories_by_step.csv", _csv),
        by_temperature=_if_there(root / "plots/stories_by_temperature.csv", _csv),
        by_position=_if_there(root / "plots/loss_by_position.csv", _csv),
        calibration=_if_there(root / "plots/calibration.csv", _csv),
    )


def _if_there(path: Path, read: Callable[[Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return read(path) if path.exists() else []


def _object(path: Path) -> dict[str, Any]:
    return read_object(path, REMEDY)


def _json_lines(path: Path) -> list[Any]:
    # Not splitlines(): it would also split at U+2028, which a story may contain.
    lines = [line for line in read_text(path, REMEDY).split("\n") if line]
    return [_check_object(parse_json(line, str(path), REMEDY), path) for line in lines]


def _json_list(path: Path) -> list[Any]:
    found = parse_json(read_text(path, REMEDY), str(path), REMEDY)
    if not isinstance(found, list):
        raise UserError(f"{path}: expected a JSON list, got {type(found).__name__}; {REMEDY}")
    return [_check_object(value, path) for value in found]


def _check_object(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected JSON objects, got {type(value).__name__}; {REMEDY}")
    return value


def _csv(path: Path) -> list[Row]:
    try:
        return [
            {name: _number(value or "") for name, value in row.items()}
            for row in csv.DictReader(read_text(path, REMEDY).splitlines())
        ]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:  # a row may have more fields than the header
        raise UserError(f"{path}: expected numbers only ({error}); {REMEDY}") from None


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    return value if math.isfinite(value) else None
