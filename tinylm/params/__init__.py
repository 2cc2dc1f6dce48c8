"""`params.yaml` as frozen, typed sections, with every mistake in the file reported at once.

One file of this package describes one section. A stage imports only the sections it reads, so that
a new field of another stage's section reruns nothing here; the check of the whole file finds the
other sections by name.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tinylm.errors import UserError
from tinylm.params import yaml_core

PARAMS_FILE = "params.yaml"


class Section(BaseModel):
    """A section of `params.yaml`. Every field is required: no value is hidden in the code."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    name: ClassVar[str]

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003 - for subclasses
        """Yield (key, message) for values that are fine alone and not together; `good` holds the valid ones."""
        yield from ()


S = TypeVar("S", bound=Section)


class Params:
    """All sections, validated; `params[TrainParams]` gives one."""

    def __init__(self, sections: Mapping[str, Section]):
        self._sections = sections

    def __getitem__(self, section: type[S]) -> S:
        found = self._sections[section.name]
        assert isinstance(found, section)
        return found


def read_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check the whole file. Raises UserError that names every mistake in it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the root of the repository") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return check(yaml_core.parse(text, str(path)), str(path))


def check(values: Any, name: str) -> Params:
    """Check parsed values of a whole parameter file; `name` is for the message."""
    if not isinstance(values, dict):
        raise UserError(f"{name}: expected sections such as `train:`, got {type(values).__name__}")
    classes = section_classes()
    mistakes = list(_unknown("", values.keys(), classes.keys()))
    sections: dict[str, Section] = {}
    for section, cls in classes.items():
        try:
            sections[section] = cls.model_validate(values.get(section))
        except ValidationError as error:
            mistakes += _explain(section, values.get(section), cls, error)
        mistakes += _conflicts(section, values.get(section), cls)
    if mistakes:
        if len(mistakes) == 1:
            raise UserError(f"{name} has 1 mistake: {mistakes[0]}")
        raise UserError("\n  ".join([f"{name} has {len(mistakes)} mistakes:", *mistakes]))
    return Params(sections)


def section_classes() -> dict[str, type[Section]]:
    """The class of each section, by name; they are the modules of this package that define one."""
    classes: dict[str, type[Section]] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Section) and value is not Section:
                classes[value.name] = value
    return classes


def _unknown(prefix: str, got: Any, known: Any) -> Iterator[str]:
    for key in got:
        if key not in known:
            close = difflib.get_close_matches(str(key), list(known), n=1)
            yield f"{prefix}{key}: unknown key; " + (
                f"did you mean {close[0]}?" if close else "params.yaml holds all keys"
            )


def _explain(section: str, values: Any, cls: type[Section], error: ValidationError) -> Iterator[str]:
    """One line per key; a key that fits none of several alternatives has one pydantic error for each."""
    if values is None:
        yield f"{section}: the section is missing; presets/ holds complete files"
        return
    expected: dict[str, list[str]] = {}
    got: dict[str, Any] = {}
    for mistake in error.errors():
        key = ".".join([section, *(str(part) for part in mistake["loc"] if not _is_type_tag(part, cls))])
        match mistake["type"]:
            case "extra_forbidden":
                yield from _unknown(f"{section}.", mistake["loc"], cls.model_fields.keys())
            case "missing":
                yield f"{key}: missing; every value stands in the file (presets/ holds complete files)"
            case "model_type":
                yield f"{section}: expected `key: value` lines, got {values!r}"
            case _:
                message = mistake["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
                expected.setdefault(key, []).append(message)
                got[key] = mistake["input"]
    for key, messages in expected.items():
        yield f"{key}: expected {' or '.join(messages)}, got {got[key]!r}"


def _is_type_tag(part: int | str, cls: type[Section]) -> bool:
    """Whether a part of pydantic's location names the alternative of a union, and not a key of ours."""
    return isinstance(part, str) and part not in cls.model_fields


def _conflicts(section: str, values: Any, cls: type[Section]) -> Iterator[str]:
    """Conflicts between the fields that are valid alone, also where others of the section are not."""
    if not isinstance(values, dict):
        return
    try:
        cls.model_validate(values)
        bad: set[Any] = set()
    except ValidationError as error:
        bad = {mistake["loc"][0] for mistake in error.errors() if mistake["loc"]}
    for key, message in cls.conflicts({k: v for k, v in values.items() if k not in bad}):
        yield f"{section}.{key}: {message}"
