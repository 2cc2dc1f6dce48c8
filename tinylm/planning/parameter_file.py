"""Write changed values into a parameter file, and as words of `dvc exp run`; comments and order stay."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from tinylm.base import yaml12
from tinylm.base.errors import UserError

KEY = re.compile(r"(  (\w+): )(.*?)(\s+#.*)?")


def apply(values: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sections of a parameter file with changes such as {"train.steps": 100}."""
    changed = {section: dict(keys) for section, keys in values.items()}
    for name, value in changes.items():
        section, key = name.split(".")
        changed[section][key] = value
    return changed


def replace_values(text: str, changes: Mapping[str, Any], header: str) -> str:
    """Return the text of a parameter file with other values, and `header` in place of its first comment lines.

    Raises UserError if a value that changes is not written on a line of its own.
    """
    lines = text.splitlines()
    while lines and lines[0].startswith("#"):
        del lines[0]
    section = ""
    for number, line in enumerate(lines):
        if re.match(r"\w", line):
            section = line.partition(":")[0]
        elif (match := KEY.fullmatch(line)) and (name := f"{section}.{match[2]}") in changes:
            lines[number] = f"{match[1]}{written(changes[name])}{match[4] or ''}"
    changed = "\n".join([*(f"# {line}" for line in header.splitlines()), *lines, ""])
    values, wanted = yaml12.parse(text, "the recipe"), yaml12.parse(changed, "the recipe")
    if apply(values, changes) != wanted:
        raise UserError("the recipe: expected each value on a line of its own, as in presets/quick.yaml; use that")
    return changed


def differences(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of `after` that `before` does not have, by parameter, but for the section `runtime`."""
    return {
        f"{section}.{key}": value
        for section, values in after.items()
        for key, value in values.items()
        if section != "runtime" and before.get(section, {}).get(key) != value
    }


def words(changes: Mapping[str, Any]) -> str:
    """Return the command that runs the changes as an experiment."""
    return " ".join(
        ["dvc exp run", *(f"--set-param {shlex.quote(f'{name}={written(value)}')}" for name, value in changes.items())]
    )


def written(value: Any) -> str:
    """Format a value as YAML, which is what DVC reads as well."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) and value not in ("null", "true", "false"):
        return value
    return json.dumps(value, ensure_ascii=False)
