"""Translate pydantic's validation errors for people who edit a file: field, expected, got and remedy."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tinylm.base.errors import quote, quote_path

# By pydantic's error type; braces are filled from the error's context.
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
    """Yield one line per wrong field, `prefix` before its name.

    pydantic reports a field of a union type once per alternative; these are merged into one line. `unknown` is the
    remedy for a key that is not one of `fields` and resembles none of them.
    """
    expected: dict[str, list[str]] = {}
    got: dict[str, Any] = {}
    for mistake in error.errors():
        # A string that is not a field names an alternative of a union.
        names = [str(part) for part in mistake["loc"] if not isinstance(part, str) or part in fields]
        key = prefix + ".".join(names)
        match mistake["type"]:
            case "extra_forbidden" | "invalid_key":
                yield explain_unknown(prefix, mistake["loc"][0], fields, unknown)
            case "missing":
                yield f"{key}: missing" + (
                    "; the file must hold every value (see the complete files in presets/)" * bool(prefix)
                )
            case "value_error":  # raised by our own validators
                yield f"{key}: {mistake['msg'].removeprefix('Value error, ')}"
            case "model_type" | "dict_type":
                yield f"{prefix.removesuffix('.')}: expected `key: value` lines, got {got_value(mistake['input'])}"
            case _:
                expected.setdefault(key, []).append(_expected(mistake))
                got[key] = mistake["input"]
    for key, alternatives in expected.items():
        yield f"{key}: expected {' or '.join(alternatives)}, got {got_value(got[key])}{_remedy(alternatives, got[key])}"


def explain_unknown(prefix: str, key: object, known: Collection[str], otherwise: str) -> str:
    """Describe an unknown key: with the closest of the `known` keys, or `otherwise` if none is close."""
    name = prefix + quote_path(key if isinstance(key, str) else repr(key))
    close = difflib.get_close_matches(str(key)[:100], known, n=1)
    return f"{name}: unknown key; " + (f"did you mean {close[0]}?" if close else otherwise)


def describe(mistake: Mapping[str, Any]) -> str:
    """Describe one pydantic error, without the name of its field."""
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
    """Suggest adding or removing quotation marks, the usual cause of a wrong type."""
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
