"""What a user may ask for when a story is to be written, checked alike for the command line and the page."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinylm.base.errors import UserError
from tinylm.base.fields import Prompt, Seed, Temperature
from tinylm.base.mistakes import explain

MOST_TOKENS = 1_000_000  # of a story; a model's context ends it long before
LARGEST_TOP_K = 1_000_000


class WritingRequest(BaseModel):
    """One story, asked for. What is allowed but fits no model (a prompt too long) is found by `Writer.begin`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: Prompt  # how the story begins; empty: the model begins it
    temperature: Temperature  # 0: the likeliest token
    top_k: Annotated[int, Field(ge=1, le=LARGEST_TOP_K)] | None  # draw from the k likeliest tokens; None: from all
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # from the likeliest of this total probability; None: from all
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]  # longest story, its prompt included [tokens]
    seed: Seed | None  # of the draws; None: one is drawn

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Check `values`. Raises UserError that names each wrong one, what was expected and what it got."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            raise UserError("; ".join(explain(error, cls.model_fields, unknown=f"expected {known}"))) from None
