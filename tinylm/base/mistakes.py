"""What pydantic finds wrong, in the words of somebody who edits a file: the field, expected, got and the remedy."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tinylm.base.errors import quote, quote_path

# By pydantic's type of the mistake; braces stand for its context.
EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "`key: value` pairs",
    "dict_type": "`key: value` pairs",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "none_required": "null",
    "string_too_long": "at most {max_length} characters",
    "string_type": "text",
    "tuple_type": "a list such as [a, b]",
}
AS_WRITTEN = {"None": "null", "True": "true", "False": "false"}  # in YAML and JSON


def explain(error: ValidationError, fields: Collection[str], prefix: str = "", unknown: str = "") -> Iterator[str]:
    """Yield one line for each wrong field; one that fits none of several alternatives has one mistake for each.

    `unknown` says where to look for a field that is none of `fields`.
    """
    expected: dict[str, list[str]] = {}
    got: dict[str, Any] = {}
    for mistake in error.errors():
        # A string that is no field names the alternative of a union.
        names = [str(part) for part in mistake["loc"] if not isinstance(part, str) or part in fields]
        key = prefix + ".".join(names)
        match mistake["type"]:
            case "extra_forbidden" | "invalid_key":
                yield explain_unknown(prefix, mistake["loc"][0], fields, unknown)
            case "missing":
                yield f"{key}: missing" + (
                    "; every value stands in the file (presets/ holds complete files)" * bool(prefix)
                )
            case "value_error":  # our own words
                yield f"{key}: {mistake['msg'].removeprefix('Value error, ')}"
            case "model_type" | "dict_type":
                yield f"{prefix.removesuffix('.')}: expected `key: value` lines, got {got_value(mistake['input'])}"
            case _:
                expected.setdefault(key, []).append(_expected(mistake))
                got[key] = mistake["input"]
    for key, alternatives in expected.items():
        yield f"{key}: expected {' or '.join(alternatives)}, got {got_value(got[key])}{_remedy(alternatives, got[key])}"


def explain_unknown(prefix: str, key: object, known: Collection[str], otherwise: str) -> str:
    name = prefix + quote_path(key if isinstance(key, str) else repr(key))
    close = difflib.get_close_matches(str(key)[:100], known, n=1)
    return f"{name}: unknown key; " + (f"did you mean {close[0]}?" if close else otherwise)


def describe(mistake: Mapping[str, Any]) -> str:
    """One of pydantic's mistakes, without the name of its field."""
    if mistake["type"] == "missing":
        return "missing"
    return f"expected {_expected(mistake)}, got {got_value(mistake['input'])}"


def got_value(value: object) -> str:
    """A value as a message shows it, words of Python as YAML and JSON have them."""
    shown = quote(value)
    return AS_WRITTEN.get(shown, shown)


def _expected(mistake: Mapping[str, Any]) -> str:
    words = EXPECTED.get(mistake["type"])
    if words is None:
        return str(mistake["msg"]).removeprefix("Input should be ")
    context = {name: _bound(value) for name, value in mistake.get("ctx", {}).items()}
    return words.format(**context)


def _bound(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _remedy(expected: Collection[str], got: object) -> str:
    """For values of the wrong type, which most often come of quotation marks."""
    if EXPECTED["string_type"] in expected and not isinstance(got, list | dict | None):
        return "; put quotation marks around it"
    if isinstance(got, str) and got.lower() in ("true", "false") and EXPECTED["bool_type"] in expected:
        return "; leave out the quotation marks"
    if isinstance(got, str) and {EXPECTED["int_type"], EXPECTED["float_type"]} & set(expected) and _is_number(got):
        return "; leave out the quotation marks"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
