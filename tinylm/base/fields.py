"""Kinds of values that several sections have, each with bounds: what lies beyond is a slip, or has no effect."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

END_OF_TEXT = "<|endoftext|>"  # as in tinylm.tokenizer.loading, which takes long to import
LARGEST_SEED = 2**53 - 1  # the largest integer that every reader of JSON understands alike
LONGEST_PROMPT = 4_000  # characters, at most 16,000 bytes; how many tokens there is room for depends on the model
LONGEST_PATH = 4_096  # characters; file systems allow fewer, and say so
LONGEST_NAME = 200  # characters
MOST_STEPS = 100_000_000
MOST_AT_ONCE = 65_536  # windows in a batch
LARGEST_CONTEXT = 131_072  # tokens
COLDEST = 0.001  # lowest temperature but 0: logits divided by much less are no numbers in float32
HOTTEST = 10.0  # at this temperature all tokens are about equally likely


def _check_text(text: str) -> str:
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":  # Python's stand-in for a byte that is no UTF-8, or half of a pair of UTF-16
            raise ValueError(f"expected Unicode text (UTF-8), got the lone surrogate U+{ord(character):04X}")
        if category == "Cc" and character not in "\t\n\r":
            raise ValueError(f"expected text without control characters, got U+{ord(character):04X}")
    return text


def _check_one_line(text: str) -> str:
    if not text.strip():
        raise ValueError(f"expected text, got {text!r}, which is blank")
    if any(character in "\t\n\r" for character in text):
        raise ValueError("expected one line, got a tab or line end")
    return _check_text(text)


def _check_prompt(prompt: str) -> str:
    if len(prompt) > LONGEST_PROMPT:
        raise ValueError(f"expected at most {LONGEST_PROMPT} characters, got {len(prompt)}")
    if END_OF_TEXT in prompt:
        raise ValueError(f"expected one story, got {END_OF_TEXT}, which ends one")
    return _check_text(prompt)


def _check_temperature(temperature: float) -> float:
    if not (temperature == 0 or COLDEST <= temperature <= HOTTEST):
        raise ValueError(f"expected 0, or {COLDEST} to {HOTTEST:g}, got {temperature}")
    return temperature


def listed(least: int, most: int) -> BeforeValidator:
    """For a list of `least` to `most` values; looks before the values are, of which there may be millions."""

    def check(values: Any) -> Any:
        if isinstance(values, list | tuple) and not least <= len(values) <= most:
            raise ValueError(f"expected {least} to {most:,} values, got {len(values):,}")
        return values

    return BeforeValidator(check)


Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Steps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Batch = Annotated[int, Field(gt=0, le=MOST_AT_ONCE)]
Stride = Annotated[int, Field(gt=0, le=LARGEST_CONTEXT)]
Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_check_one_line)]
Path = Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_check_one_line)]
Paths = Annotated[tuple[Path, ...], Field(strict=False), listed(0, 10_000)]
Prompt = Annotated[str, AfterValidator(_check_prompt)]
Temperature = Annotated[float, AfterValidator(_check_temperature)]  # 0: always the likeliest token
