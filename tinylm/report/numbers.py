"""Format numbers for readers."""

import re
from typing import Any, TypeGuard

NOTHING = "–"


def number(value: Any) -> str:
    """Format whole numbers with thousands separators, others with four significant digits."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or abs(value) >= 1000:
        return minus(f"{value:,.0f}")
    return minus(f"{value:.4g}")


def minus(text: str) -> str:
    """Replace hyphens by minus signs."""
    return text.replace("-", "\u2212")


def rounded(count: int) -> str:
    """Format a count in words: "1.38 million"."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:.3g} {word}"
    return f"{count:,}"


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a JSON value is a number (and not a bool)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def label(key: str) -> str:
    """Return the name of a metric in words: `novel_4grams` is "novel 4-grams"."""
    return re.sub(r"\b(\d+)grams\b", r"\1-grams", key.replace("_", " "))
