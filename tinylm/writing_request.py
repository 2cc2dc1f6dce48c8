"""What a user may ask for when a story is to be written, checked alike for the command line and the page."""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tinylm.errors import UserError
from tinylm.tokenizer import END_OF_TEXT

LONGEST_PROMPT = 4_000  # characters, at most 16,000 bytes; how many tokens there is room for depends on the model
COLDEST = 0.001  # lowest temperature but 0: logits divided by much less are no numbers in float32
HOTTEST = 10.0  # at this temperature all tokens are about equally likely
MOST_TOKENS = 1_000_000  # of a story; a model's context ends it long before
LARGEST_TOP_K = 1_000_000
LARGEST_SEED = 2**53 - 1  # the largest integer that every reader of JSON understands alike
LONGEST_QUOTE = 60  # characters of a wrong value that a message repeats


def _check_prompt(prompt: str) -> str:
    if len(prompt) > LONGEST_PROMPT:
        raise ValueError(f"expected at most {LONGEST_PROMPT} characters, got {len(prompt)}")
    for character in prompt:
        category = unicodedata.category(character)
        if category == "Cs":  # Python's stand-in for a byte that is no UTF-8, or half of a pair of UTF-16
            raise ValueError(f"expected Unicode text (UTF-8), got the lone surrogate U+{ord(character):04X}")
        if category == "Cc" and character not in "\t\n\r":
            raise ValueError(f"expected text without control characters, got U+{ord(character):04X}")
    if END_OF_TEXT in prompt:
        raise ValueError(f"expected one story, got {END_OF_TEXT}, which ends one")
    return prompt


def _check_temperature(temperature: float) -> float:
    if 0 < temperature < COLDEST:
        raise ValueError(f"expected 0, or {COLDEST} to {HOTTEST:g}, got {temperature}")
    return temperature


class WritingRequest(BaseModel):
    """One story, asked for. What is allowed but fits no model (a prompt too long) is found by `Writer.begin`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: Annotated[str, AfterValidator(_check_prompt)]  # how the story begins; empty: the model begins it
    temperature: Annotated[float, Field(ge=0, le=HOTTEST), AfterValidator(_check_temperature)]  # 0: the likeliest token
    top_k: Annotated[int, Field(ge=1, le=LARGEST_TOP_K)] | None  # draw from the k likeliest tokens; None: from all
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # from the likeliest of this total probability; None: from all
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]  # longest story, its prompt included [tokens]
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None  # of the draws; None: one is drawn

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Check `values`. Raises UserError that names each wrong one, what was expected and what it got."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UserError("; ".join(_explain(mistake) for mistake in error.errors())) from None


def _explain(mistake: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in mistake["loc"])
    message = mistake["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    match mistake["type"]:
        case "value_error":  # our own words
            return f"{field}: {message}"
        case "extra_forbidden":
            return f"{_quote(field)}: unknown field; expected {', '.join(WritingRequest.model_fields)}"
        case "missing":
            return f"{field}: missing"
    return f"{field}: expected {message}, got {_quote(mistake['input'])}"


def _quote(value: Any) -> str:
    """A wrong value on one line, in ASCII and not too long, whatever it is."""
    shown = ascii(value)
    return shown if len(shown) <= LONGEST_QUOTE else shown[: LONGEST_QUOTE - 3] + "..."
