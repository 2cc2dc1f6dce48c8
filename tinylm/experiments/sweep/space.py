"""What a sweep tries: `train.peak_lr=log(1e-4,1e-2)`, `train.batch_size=8,16,32`, `model.layers=int(2,6)`."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.base.mistakes import explain
from tinylm.base.params import PARAMS_FILE, section_classes

HELP = "give values (1,2,3), uniform(low,high), log(low,high), int(low,high) or logint(low,high)"
DIGITS = 4  # significant ones of a value that is drawn: more would say nothing, and fill the tables


@dataclass(frozen=True)
class Choices:
    """One of these, as DVC and params.yaml write them."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Range:
    """A number between two, both included; `log`: equally likely in each factor rather than in each difference."""

    low: float
    high: float
    log: bool
    whole: bool

    def __str__(self) -> str:
        kind = ("logint" if self.log else "int") if self.whole else ("log" if self.log else "uniform")
        return f"{kind}({self.low:g},{self.high:g})"


Values = Choices | Range
Space = dict[str, Values]
KINDS = {"uniform": (False, False), "log": (True, False), "int": (False, True), "logint": (True, True)}  # log, whole
CALL = re.compile(r"(\w+)\((.*)\)")


def parse_space(texts: Sequence[str]) -> Space:
    """The parameters that a sweep varies, by name. Raises UserError for a text that says no such thing."""
    space: Space = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"\w+\.\w+", name):
            raise UserError(f"{text!r}: expected section.parameter=values, such as train.peak_lr=log(1e-4,1e-2)")
        if name in space:
            raise UserError(f"{name}: is given twice; list all its values at once")
        space[name] = parse_values(name, values)
    return space


def parse_values(name: str, text: str) -> Values:
    if call := CALL.fullmatch(text):
        if call[1] not in KINDS:
            raise UserError(f"{name}: {text} is nothing known; {HELP}")
        return _range(name, text, call[2], *KINDS[call[1]])
    values = tuple(part.strip() for part in _split(text))
    if not all(values):
        raise UserError(f"{name}: expected values between commas, got {text!r}; {HELP}")
    if len(set(values)) < len(values):
        raise UserError(f"{name}: a value stands twice in {text}")
    return Choices(values)


def _range(name: str, text: str, inside: str, log: bool, whole: bool) -> Range:
    try:
        low, high = (float(part) for part in inside.split(","))
    except ValueError:
        raise UserError(f"{name}: expected two numbers in {text}; {HELP}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{name}: expected the lower number first in {text}")
    if log and low <= 0:
        raise UserError(f"{name}: a logarithmic range begins above 0, got {text}")
    if whole and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{name}: expected whole numbers in {text}")
    return Range(low, high, log, whole)


def _split(text: str) -> Iterator[str]:
    """At the commas that stand in no bracket or quotation."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and not depth:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def written(value: Any) -> str:
    """A drawn value as `-S` takes it."""
    return f"{float(f'{value:.{DIGITS}g}')!r}" if isinstance(value, float) else str(value)


def parsed(text: str) -> Any:
    """A value as params.yaml would hold it."""
    return yaml12.parse(text, "a value")


def listed(values: Values) -> tuple[str, ...] | None:
    """All that these values can be, if that can be listed."""
    if isinstance(values, Choices):
        return values.values
    return tuple(map(str, range(int(values.low), int(values.high) + 1))) if values.whole else None


def count(space: Space) -> int | None:
    """How many settings there are; None where there is no end of them."""
    each = [listed(values) for values in space.values()]
    return None if None in each else math.prod(len(values or ()) for values in each)


def grid(space: Space) -> list[dict[str, str]]:
    """Every combination. Raises UserError for a range that has no end of values."""
    for name, values in space.items():
        if listed(values) is None:
            raise UserError(f"{name}: a grid takes listed values, got {values}; or use --search random or guided")
    each = [listed(values) or () for values in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*each)]


def check_space(space: Space, params: Mapping[str, Any], read: Callable[[str], Any] = parsed) -> None:
    """Raise UserError for a parameter that is not in params.yaml, or a value that it cannot take.

    Each is looked at alone: what is wrong only together with others is found when a trial has them.
    """
    classes = section_classes()
    for name, values in space.items():
        section, key = name.split(".")
        if section not in classes or key not in classes[section].model_fields:
            raise UserError(f"{name}: is not in {PARAMS_FILE}")
        ends = values.values if isinstance(values, Choices) else (_end(values, values.low), _end(values, values.high))
        for text in ends:
            try:
                classes[section].model_validate({**params[section], key: read(text)})
            except ValidationError as error:
                for mistake in explain(error, classes[section].model_fields, f"{section}."):
                    if mistake.startswith(f"{name}:"):
                        raise UserError(mistake) from None


def _end(values: Range, number: float) -> str:
    return str(int(number)) if values.whole else repr(number)
