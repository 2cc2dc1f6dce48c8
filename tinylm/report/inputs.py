"""What the stages left of a run, read for its page. No torch here: the page is made in a moment."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinylm.errors import UserError

Row = dict[str, float | None]  # a line of a CSV file; None: an empty field, or no finite number


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run's files; those below the line are empty where a run did not make them."""

    training: dict[str, Any]  # what the model came from
    download: dict[str, Any]
    train_tokenizer: dict[str, Any]
    pretokenize: dict[str, Any]
    train: dict[str, Any]
    generate: dict[str, Any]
    evaluate: dict[str, Any]
    train_rows: list[Row]
    val_rows: list[Row]
    # ---
    progress: list[dict[str, Any]]  # stories of the milestones, as tinylm.stories.Story
    probabilities: list[dict[str, Any]]  # of every token of a story, for each prompt
    by_step: list[Row]  # figures of the stories
    by_temperature: list[Row]
    by_position: list[Row]  # loss
    calibration: list[Row]


def read_run(root: Path) -> RunFiles:
    """Read a run's files below `root`. Raises UserError where one is missing that every run leaves, or is torn."""
    return RunFiles(
        training=_json(root / "artifacts/model/training.json"),
        download=_json(root / "metrics/download.json"),
        train_tokenizer=_json(root / "metrics/train_tokenizer.json"),
        pretokenize=_json(root / "metrics/pretokenize.json"),
        train=_json(root / "metrics/train.json"),
        generate=_json(root / "metrics/generate.json"),
        evaluate=_json(root / "metrics/evaluate.json"),
        train_rows=_csv(root / "plots/train.csv"),
        val_rows=_csv(root / "plots/val.csv"),
        progress=_if_there(root / "artifacts/stories/progress.jsonl", _json_lines),
        probabilities=_if_there(root / "artifacts/stories/probabilities.json", _json),
        by_step=_if_there(root / "plots/stories_by_step.csv", _csv),
        by_temperature=_if_there(root / "plots/stories_by_temperature.csv", _csv),
        by_position=_if_there(root / "plots/loss_by_position.csv", _csv),
        calibration=_if_there(root / "plots/calibration.csv", _csv),
    )


def _if_there(path: Path, read: Callable[[Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return read(path) if path.exists() else []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run dvc repro, or dvc pull on a new machine") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; run dvc repro --force") from None


def _json(path: Path) -> Any:
    return _parse(_text(path), path)


def _json_lines(path: Path) -> list[Any]:
    # Not splitlines(): it would also split at U+2028, which a story may hold.
    return [_parse(line, path) for line in _text(path).split("\n") if line]


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); run dvc repro --force") from None


def _csv(path: Path) -> list[Row]:
    try:
        return [
            {name: _number(value or "") for name, value in row.items()}
            for row in csv.DictReader(_text(path).splitlines())
        ]
    except ValueError as error:
        raise UserError(f"{path}: expected numbers only ({error}); run dvc repro --force") from None


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    return value if math.isfinite(value) else None
