"""Read YAML as DVC reads it: by the same parser, ruamel.yaml, which takes YAML 1.2.

So `3e-4` is a float and `yes` a string here as in `dvc params diff`, where YAML 1.1 has it the other way round.
What a short text can grow to is bounded before it is built: an alias stands for all that its anchor holds.
"""

import os
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from tinylm.base.errors import UserError, quote_path
from tinylm.base.reading import read_text

LARGEST_TEXT = 1 << 18  # characters; params.yaml has some 7,000
MOST_BYTES = 4 * LARGEST_TEXT  # of so many characters in UTF-8
DEEPEST = 20  # levels of lists and sections inside each other; params.yaml has 3
MOST_VALUES = 20_000  # with every alias written out
REMEDY = "mend it, or put quotation marks around text that looks like YAML"


def read(path: str | os.PathLike[str], remedy: str) -> Any:
    """Read and parse the YAML file at `path`. Raises UserError as `parse` and `read_text` do."""
    return parse(read_text(path, remedy, MOST_BYTES), os.fspath(path))


def parse(text: str, name: str) -> Any:
    """Parse one YAML document; `name` is for the message. Raises UserError where it is not YAML, or too large."""
    name = quote_path(name)
    if len(text) > LARGEST_TEXT:
        raise UserError(f"{name}: expected at most {LARGEST_TEXT} characters of YAML, got {len(text)}; shorten it")
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
    except Exception as error:  # ruamel.yaml lets through whatever the value of a tag such as !!int raises
        problem = " ".join(str(error).split(";")[0].split()) or type(error).__name__  # after it, help for programmers
        raise UserError(f"{name}: not valid YAML: {problem}; {REMEDY}") from None


def _check_growth(events: Iterator[Any], name: str) -> None:
    """Raise UserError for what is nested too deeply, refers to itself, or grows too large by its aliases."""
    values = 0  # so far, aliases written out
    sizes: dict[str | None, int] = {}  # of what each anchor holds
    open_collections: list[tuple[str | None, int]] = []  # anchor, and values before it
    for event in events:
        if isinstance(event, AliasEvent):
            if event.anchor in dict(open_collections):
                raise UserError(f"{name}: the alias *{event.anchor} stands inside its own anchor; write the values out")
            values += sizes.get(event.anchor, 1)  # an unknown one is the parser's to tell
        elif isinstance(event, CollectionStartEvent):
            open_collections.append((event.anchor, values))
            values += 1
            if len(open_collections) > DEEPEST:
                raise _too_deep(name)
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_collections.pop()
            sizes[anchor] = values - before
        elif isinstance(event, ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
        if values > MOST_VALUES:
            raise UserError(
                f"{name}: expected at most {MOST_VALUES} values, with aliases written out; use fewer aliases"
            )


def _too_deep(name: str) -> UserError:
    return UserError(f"{name}: expected lists and sections at most {DEEPEST} levels deep, got more; flatten it")
