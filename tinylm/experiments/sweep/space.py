"""The search space of a sweep: `train.peak_lr=log(1e-4,1e-2)`, `train.batch_size=8,16,32`, `model.layers=int(2,6)`."""

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

HELP = "use values (1,2,3), uniform(low,high), log(low,high), int(low,high) or logint(low,high)"
DIGITS = 4  # significant digits of a drawn value: more would be noise, and would widen the tables


@dataclass(frozen=True)
class Choices:
    """A list of values, as DVC and params.yaml write them."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Range:
    """A range of numbers, both ends included; `log`: uniform in the logarithm of the value."""

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
    """Parse the parameters that a sweep varies; return their values by name. Raises UserError for invalid syntax."""
    space: Space = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"\w+\.\w+", name):
            raise UserError(f"{text!r}: expected section.parameter=values, such as train.peak_lr=log(1e-4,1e-2)")
        if name in space:
            raise UserError(f"{name}: given twice; list all its values at once")
        space[name] = parse_values(name, values)
    return space


def parse_values(name: str, text: str) -> Values:
    """Parse the values of the parameter `name`. Raises UserError for invalid syntax."""
    if call := CALL.fullmatch(text):
        if call[1] not in KINDS:
            raise UserError(f"{name}: expected a list or a known distribution, got {text}; {HELP}")
        return _range(name, text, call[2], *KINDS[call[1]])
    values = split_values(text)
    if not all(values):
        raise UserError(f"{name}: expected values between commas, got {text!r}; {HELP}")
    if len(set(values)) < len(values):
        raise UserError(f"{name}: expected different values, got one twice in {text}; remove one")
    return Choices(values)


def _range(name: str, text: str, inside: str, log: bool, whole: bool) -> Range:
    try:
        low, high = (float(part) for part in inside.split(","))
    except ValueError:
        raise UserError(f"{name}: expected two numbers in {text}; {HELP}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{name}: expected the lower number first in {text}")
    if log and low <= 0:
        raise UserError(f"{name}: expected a logarithmic range above 0, got {text}")
    if whole and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{name}: expected whole numbers in {text}")
    return Range(low, high, log, whole)


def split_values(text: str) -> tuple[str, ...]:
    """Return the values of a list."""
    return tuple(part.strip() for part in _split(text))


def _split(text: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes."""
    depth, quote, start = 0, "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and not depth:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def written(value: Any) -> str:
    """Format a drawn value for DVC's `-S`, with DIGITS significant digits."""
    return f"{float(f'{value:.{DIGITS}g}')!r}" if isinstance(value, float) else str(value)


def parsed(text: str) -> Any:
    """Parse a value as in params.yaml."""
    return yaml12.parse(text, "a value")


def listed(values: Values) -> tuple[str, ...] | None:
    """Return all possible values, or None for a continuous range."""
    if isinstance(values, Choices):
        return values.values
    return tuple(map(str, range(int(values.low), int(values.high) + 1))) if values.whole else None


def count(space: Space) -> int | None:
    """Return the number of different settings; None for a continuous space."""
    each = [listed(values) for values in space.values()]
    return None if None in each else math.prod(len(values or ()) for values in each)


def grid(space: Space) -> list[dict[str, str]]:
    """Return every combination of values. Raises UserError for a continuous range."""
    for name, values in space.items():
        if listed(values) is None:
            raise UserError(f"{name}: a grid needs listed values, got {values}; or use --search random or guided")
    each = [listed(values) or () for values in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*each)]


def check_space(space: Space, params: Mapping[str, Any], read: Callable[[str], Any] = parsed) -> None:
    """Raise UserError for a parameter that is not in params.yaml, or a value that is invalid for it.

    Each parameter is checked alone: an invalid combination is found when a trial has it.
    """
    classes = section_classes()
    for name, values in space.items():
        section, key = name.split(".")
        if section not in classes or key not in classes[section].model_fields:
            raise UserError(f"{name}: not in {PARAMS_FILE}; check the spelling")
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
