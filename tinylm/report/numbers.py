"""Numbers as a reader wants to see them."""

import re
from typing import Any, TypeGuard

NOTHING = "–"


def number(value: Any) -> str:
    """Whole numbers with separators, others with four significant digits."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or abs(value) >= 1000:
        return minus(f"{value:,.0f}")
    return minus(f"{value:.4g}")


def minus(text: str) -> str:
    """With a minus sign in place of the hyphen."""
    return text.replace("-", "\u2212")


def rounded(count: int) -> str:
    """A count in words: 1.38 million."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:.3g} {word}"
    return f"{count:,}"


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def label(key: str) -> str:
    """The name of a metric as words: `novel_4grams` is "novel 4-grams"."""
    return re.sub(r"\b(\d+)grams\b", r"\1-grams", key.replace("_", " "))
