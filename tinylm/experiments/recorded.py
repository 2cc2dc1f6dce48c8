"""What a finished run recorded: its parameters, and the metrics by which a plan or a scaling law is checked."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict
from typing_extensions import TypedDict

from tinylm.base.errors import UserError
from tinylm.base.reading import parse_as, parse_numbers
from tinylm.experiments.history import list_experiments, read_file, read_params_at, read_score, resolve

REMEDY = "run it to its end: dvc exp run"


class Training(TypedDict):
    """The part of metrics/train.json that is read here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    parameters: int
    steps: int
    tokens: int
    device: str
    device_name: str
    precision: str
    threads: int
    processes: int
    compiled: bool


class Timing(TypedDict):
    """The part of metrics/speed.json that is read here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    seconds: float
    tokens_per_second: float | None


class Tokens(TypedDict):
    """The part of an entry of metrics/pretokenize.json that is read here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    tokens: int


class Vocabulary(TypedDict):
    """The part of metrics/train_tokenizer.json that is read here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    vocab_size: int


@dataclass(frozen=True)
class Recorded:
    """A finished run."""

    name: str
    params: dict[str, dict[str, Any]]  # the sections of its params.yaml
    training: Training
    timing: Timing
    first_step: float  # with compilation [seconds]
    peak_memory: float  # [bytes]
    vocab_size: int
    text_tokens: int  # of the training split
    bits: float | None  # per byte; None if the tokenizer is lossy

    @property
    def seconds(self) -> float:
        """The time of training without the first step of a compiled run, which waits for the compiler."""
        return self.timing["seconds"] - (self.first_step if self.training["compiled"] else 0.0)


def read_recorded(name: str) -> Recorded:
    """Read what the run `name` recorded, an experiment, a git revision or the workspace.

    Raises UserError if it is unknown or has not ended.
    """
    commit = resolve(name)
    try:
        params = read_params_at(commit)
        speed = read_file(commit, "plots/speed.csv")
        rows = parse_numbers(speed, ["memory_mb", "tokens_per_second"], "plots/speed.csv", REMEDY)
        training = parse_as(Training, read_file(commit, "metrics/train.json"), "metrics/train.json", REMEDY)
        splits = parse_as(dict[str, Tokens], read_file(commit, "metrics/pretokenize.json"), "pretokenize.json", REMEDY)
        return Recorded(
            name,
            params,
            training,
            parse_as(Timing, read_file(commit, "metrics/speed.json"), "metrics/speed.json", REMEDY),
            training["tokens"] / training["steps"] / rows[0]["tokens_per_second"],
            1e6 * max(row["memory_mb"] for row in rows),
            parse_as(
                Vocabulary, read_file(commit, "metrics/train_tokenizer.json"), "metrics/train_tokenizer.json", REMEDY
            )["vocab_size"],
            splits["train"]["tokens"],
            read_score(commit)["bits_per_byte"],
        )
    except (ArithmeticError, LookupError, ValueError):
        raise UserError(f"{name}: expected the metrics of a finished run; {REMEDY}") from None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def find_named(pattern: re.Pattern[str]) -> list[str]:
    """Return the names of the experiments that match a pattern as a whole, sorted."""
    return sorted({experiment.name for experiment in list_experiments() if pattern.fullmatch(experiment.name)})
