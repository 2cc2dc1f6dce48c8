"""Field types shared by several sections. Each has bounds; a value outside them is a typo or has no effect."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

END_OF_TEXT = "<|endoftext|>"  # same as in tinylm.tokenizer.loading, which is slow to import
LARGEST_SEED = 2**53 - 1  # the largest integer that every JSON parser reads exactly
LONGEST_PROMPT = 4_000  # characters, so at most 16,000 bytes; the limit in tokens depends on the model
LONGEST_PATH = 4_096  # characters; file systems have lower limits and report them
LONGEST_NAME = 200  # characters
MOST_STEPS = 100_000_000
MOST_AT_ONCE = 65_536  # sequences per batch
LARGEST_CONTEXT = 131_072  # tokens
COLDEST = 0.001  # lowest temperature above 0: dividing logits by much less overflows float32
HOTTEST = 10.0  # at this temperature all tokens are about equally likely


def _check_text(text: str) -> str:
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":  # a lone surrogate: an undecodable byte (surrogateescape), or half of a UTF-16 pair
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


def _check_endpoint(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    if not host.strip("[]") or any(map(str.isspace, host)) or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"expected HOST:PORT, such as 10.0.0.1:29400, got {endpoint!r}")
    return endpoint


def _check_temperature(temperature: float) -> float:
    if not (temperature == 0 or COLDEST <= temperature <= HOTTEST):
        raise ValueError(f"expected 0, or {COLDEST} to {HOTTEST:g}, got {temperature}")
    return temperature


def listed(least: int, most: int) -> BeforeValidator:
    """Return a validator for lists of `least` to `most` values; it runs before the values, which may be millions."""

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
Endpoint = Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_check_endpoint)]
Temperature = Annotated[float, AfterValidator(_check_temperature)]  # 0: greedy decoding
