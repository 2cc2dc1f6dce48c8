"""`params.yaml` as frozen, typed sections; all mistakes in the file are reported at once.

Each section is defined in the package that uses it, for example `tinylm/train/params.py`. A stage imports only the
sections it reads, so that a new field in another stage's section does not rerun it; the check of the whole file finds
all sections by their file name. `runtime`, which does not change results, is defined in this package.
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
PACKAGES = Path(__file__).parent.parent
REMEDY = "params.yaml holds all keys"  # the committed version does
MAX_SHOWN = 20  # mistakes in one message


class Section(BaseModel):
    """A section of `params.yaml`. Every field is required; there are no defaults in the code."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    name: ClassVar[str]

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003 - for subclasses
        """Yield (key, message) for values that are valid alone but not together; `good` holds the valid values."""
        yield from ()

    @classmethod
    def conflicts_with(
        cls,
        others: Mapping[str, Mapping[str, Any]],  # noqa: ARG003 - for subclasses
        good: Mapping[str, Any],  # noqa: ARG003
    ) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for values that conflict with other sections; `others` holds their valid values by name.

        Every stage checks all sections, so that a mistake that would fail after training is found before it.
        """
        yield from ()

    @classmethod
    def file_conflicts(
        cls,
        values: Mapping[str, Mapping[str, Any]],  # noqa: ARG003 - for subclasses
    ) -> Iterator[tuple[str, str]]:
        """Yield (section and key, message) for values that do not fit the files that they name.

        `values` holds the sections by name, all valid. Stages check this before they start; other readers of a
        parameter file need not have these files.
        """
        yield from ()


S = TypeVar("S", bound=Section)


class Params:
    """All validated sections; `params[TrainParams]` returns one of them."""

    def __init__(self, sections: Mapping[str, Section]):
        self._sections = sections

    def values(self, *names: str) -> dict[str, dict[str, Any]]:
        """Return the values of the named sections as JSON-compatible dicts."""
        return {name: self._sections[name].model_dump(mode="json") for name in names}

    def check_files(self) -> None:
        """Raise one UserError that lists all values that do not fit the files that they name."""
        values = self.values(*self._sections)
        found = [conflict for section in self._sections.values() for conflict in section.file_conflicts(values)]
        if found:
            raise _mistakes(PARAMS_FILE, [f"{key}: {message}" for key, message in found])

    def __getitem__(self, section: type[S]) -> S:
        found = self._sections[section.name]
        assert isinstance(found, section)
        return found


def read_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check the whole file. Raises one UserError that lists all mistakes."""
    return check(yaml12.read(path, "run from the root of the repository, with params.yaml saved as UTF-8"), str(path))


def check(values: Any, name: str) -> Params:
    """Check the parsed values of a whole parameter file, called `name` in messages.

    Raises one UserError that lists the mistakes (at most `MAX_SHOWN`).
    """
    name = quote_path(name)
    if not isinstance(values, dict):
        raise UserError(
            f"{name}: expected sections such as `train:`, got {got_value(values)}; see the files in presets/"
        )
    classes = section_classes()
    mistakes = [explain_unknown("", key, classes, REMEDY) for key in values if key not in classes]
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
        raise _mistakes(name, mistakes)
    return Params(sections)


def _mistakes(name: str, mistakes: list[str]) -> UserError:
    if len(mistakes) == 1:
        return UserError(f"{name} has 1 mistake: {mistakes[0]}")
    more = [f"and {len(mistakes) - MAX_SHOWN} more"] if len(mistakes) > MAX_SHOWN else []
    return UserError("\n  ".join([f"{name} has {len(mistakes)} mistakes:", *mistakes[:MAX_SHOWN], *more]))


def section_classes() -> dict[str, type[Section]]:
    """Return the class of each section by name: those in `tinylm/PACKAGE/params.py`, and RuntimeParams."""
    packages = sorted(path.parent.name for path in PACKAGES.glob("*/params.py"))
    classes: dict[str, type[Section]] = {}
    for module in ("tinylm.base.runtime", *(f"tinylm.{package}.params" for package in packages)):
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, type) and issubclass(value, Section) and value is not Section:
                classes[value.name] = value
    return dict(sorted(classes.items()))


def _explain(section: str, values: Any, cls: type[Section], error: ValidationError) -> Iterator[str]:
    if values is None:
        yield f"{section}: the section is missing; see the complete files in presets/"
    else:
        yield from explain(error, cls.model_fields, f"{section}.", REMEDY)


def _good_values(values: Any, cls: type[Section]) -> dict[str, Any]:
    """Return the values that are valid on their own, even if other values of the section are not."""
    if not isinstance(values, dict):
        return {}
    try:
        cls.model_validate(values)
        bad: set[Any] = set()
    except ValidationError as error:
        bad = {mistake["loc"][0] for mistake in error.errors() if mistake["loc"]}
    return {key: value for key, value in values.items() if key not in bad}
