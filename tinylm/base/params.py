"""`params.yaml` as frozen, typed sections, with every mistake in the file reported at once.

A section stands in the room that it is for: `tinylm/train/params.py`. A stage imports only those it reads, so that
a new field of another stage's section reruns nothing here; the check of the whole file finds the others by their
files. `runtime`, which changes no result, is in this room.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tinylm.base import yaml12
from tinylm.base.errors import UserError, quote_path
from tinylm.base.mistakes import explain, explain_unknown, got_value

PARAMS_FILE = "params.yaml"
ROOMS = Path(__file__).parent.parent
HOLDS_ALL = "params.yaml holds all keys"  # as it is committed
MOST_SHOWN = 20  # mistakes in one message


class Section(BaseModel):
    """A section of `params.yaml`. Every field is required: no value is hidden in the code."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    name: ClassVar[str]

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003 - for subclasses
        """Yield (key, message) for values that are fine alone and not together; `good` holds the valid ones."""
        yield from ()

    @classmethod
    def conflicts_with(
        cls,
        others: Mapping[str, Mapping[str, Any]],  # noqa: ARG003 - for subclasses
        good: Mapping[str, Any],  # noqa: ARG003
    ) -> Iterator[tuple[str, str]]:
        """The same for values that other sections rule out; `others` holds all sections' valid ones, by name.

        Every stage looks at all sections, so that what would fail after the training is found before it.
        """
        yield from ()


S = TypeVar("S", bound=Section)


class Params:
    """All sections, validated; `params[TrainParams]` gives one."""

    def __init__(self, sections: Mapping[str, Section]):
        self._sections = sections

    def values(self, *names: str) -> dict[str, dict[str, Any]]:
        """The values of the sections of these names, as JSON has them."""
        return {name: self._sections[name].model_dump(mode="json") for name in names}

    def __getitem__(self, section: type[S]) -> S:
        found = self._sections[section.name]
        assert isinstance(found, section)
        return found


def read_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check the whole file. Raises UserError that names every mistake in it."""
    return check(yaml12.read(path, "run from the root of the repository, with it saved as UTF-8"), str(path))


def check(values: Any, name: str) -> Params:
    """Check parsed values of a whole parameter file; `name` is for the message."""
    name = quote_path(name)
    if not isinstance(values, dict):
        raise UserError(f"{name}: expected sections such as `train:`, got {got_value(values)}; presets/ holds files")
    classes = section_classes()
    mistakes = [explain_unknown("", key, classes, HOLDS_ALL) for key in values if key not in classes]
    sections: dict[str, Section] = {}
    good = {section: _good_values(values.get(section), cls) for section, cls in classes.items()}
    for section, cls in classes.items():
        try:
            sections[section] = cls.model_validate(values.get(section))
        except ValidationError as error:
            mistakes += _explain(section, values.get(section), cls, error)
        conflicts = [*cls.conflicts(good[section]), *cls.conflicts_with(good, good[section])]
        mistakes += [f"{section}.{key}: {message}" for key, message in conflicts]
    if mistakes:
        if len(mistakes) == 1:
            raise UserError(f"{name} has 1 mistake: {mistakes[0]}")
        more = [f"and {len(mistakes) - MOST_SHOWN} more"] if len(mistakes) > MOST_SHOWN else []
        raise UserError("\n  ".join([f"{name} has {len(mistakes)} mistakes:", *mistakes[:MOST_SHOWN], *more]))
    return Params(sections)


def section_classes() -> dict[str, type[Section]]:
    """The class of each section, by name: `tinylm/ROOM/params.py` defines one, and runtime.py beside this file."""
    rooms = sorted(path.parent.name for path in ROOMS.glob("*/params.py"))
    classes: dict[str, type[Section]] = {}
    for module in ("tinylm.base.runtime", *(f"tinylm.{room}.params" for room in rooms)):
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, type) and issubclass(value, Section) and value is not Section:
                classes[value.name] = value
    return dict(sorted(classes.items()))


def _explain(section: str, values: Any, cls: type[Section], error: ValidationError) -> Iterator[str]:
    if values is None:
        yield f"{section}: the section is missing; presets/ holds complete files"
    else:
        yield from explain(error, cls.model_fields, f"{section}.", HOLDS_ALL)


def _good_values(values: Any, cls: type[Section]) -> dict[str, Any]:
    """The values that are valid alone, also where others of the section are not."""
    if not isinstance(values, dict):
        return {}
    try:
        cls.model_validate(values)
        bad: set[Any] = set()
    except ValidationError as error:
        bad = {mistake["loc"][0] for mistake in error.errors() if mistake["loc"]}
    return {key: value for key, value in values.items() if key not in bad}
