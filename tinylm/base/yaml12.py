"""Read YAML as DVC does: with the same parser, ruamel.yaml, which follows YAML 1.2.

`3e-4` is therefore a float and `yes` a string, as in `dvc params diff`; YAML 1.1 has it the other way round.
Aliases can make a short text expand exponentially, so the expanded size is checked before anything is built.
"""

import os
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from tinylm.base.errors import UserError, quote_path
from tinylm.base.reading import read_text

MAX_CHARACTERS = 1 << 18  # params.yaml has about 7,000
MAX_BYTES = 4 * MAX_CHARACTERS  # UTF-8 takes at most 4 bytes per character
MAX_DEPTH = 20  # levels of nesting; params.yaml has 3
MAX_VALUES = 20_000  # with all aliases expanded
REMEDY = "fix it, or put quotation marks around text that looks like YAML"


def read(path: str | os.PathLike[str], remedy: str) -> Any:
    """Read and parse the YAML file at `path`. Raises UserError as `parse` and `read_text` do."""
    return parse(read_text(path, remedy, MAX_BYTES), os.fspath(path))


def parse(text: str, name: str) -> Any:
    """Parse one YAML document; `name` is used in messages. Raises UserError if it is not valid YAML or too large."""
    name = quote_path(name)
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{name}: expected at most {MAX_CHARACTERS} characters of YAML, got {len(text)}; shorten it")
    try:
        _check_growth(YAML(typ="safe").parse(text), name)
        return YAML(typ="safe").load(text)
    except UserError:
        raise
    except RecursionError:
        raise _too_deep(name) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = " ".join((error.problem or error.context or "cannot be read").split())
        raise UserError(f"{name}: not valid YAML: {where}{problem}; {REMEDY}") from None
    except Exception as error:  # ruamel.yaml passes on whatever parsing a tagged value (such as !!int) raises
        problem = " ".join(str(error).split(";")[0].split()) or type(error).__name__  # after ";": for programmers
        raise UserError(f"{name}: not valid YAML: {problem}; {REMEDY}") from None


def _check_growth(events: Iterator[Any], name: str) -> None:
    """Raise UserError if the document is nested too deeply, refers to itself, or expands to too many values."""
    values = 0  # so far, with aliases expanded
    sizes: dict[str | None, int] = {}  # number of values under each anchor
    open_collections: list[tuple[str | None, int]] = []  # anchor, and the number of values before it
    for event in events:
        if isinstance(event, AliasEvent):
            if event.anchor in dict(open_collections):
                raise UserError(f"{name}: the alias *{event.anchor} is inside its own anchor; write the values out")
            values += sizes.get(event.anchor, 1)  # the parser reports unknown anchors
        elif isinstance(event, CollectionStartEvent):
            open_collections.append((event.anchor, values))
            values += 1
            if len(open_collections) > MAX_DEPTH:
                raise _too_deep(name)
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_collections.pop()
            sizes[anchor] = values - before
        elif isinstance(event, ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
        if values > MAX_VALUES:
            raise UserError(
                f"{name}: expected at most {MAX_VALUES} values with all aliases expanded; use fewer aliases"
            )


def _too_deep(name: str) -> UserError:
    return UserError(
        f"{name}: expected lists and sections nested at most {MAX_DEPTH} levels deep, got more; flatten it"
    )
