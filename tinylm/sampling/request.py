"""Validation of generation requests, the same for the command line and the server."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinylm.base.errors import UserError
from tinylm.base.fields import Prompt, Seed, Temperature
from tinylm.base.mistakes import explain

MOST_TOKENS = 1_000_000  # of a story; the context of a model is far shorter
LARGEST_TOP_K = 1_000_000


class GenerationRequest(BaseModel):
    """A request for one story. Whether the prompt fits the model's context is checked by `TextGenerator.stream`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: Prompt  # start of the story; may be empty
    temperature: Temperature  # 0: greedy
    top_k: Annotated[int, Field(ge=1, le=LARGEST_TOP_K)] | None  # sample from the k most likely tokens; None: no limit
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # nucleus of this total probability; None: no limit
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]  # longest story, prompt included [tokens]
    seed: Seed | None  # None: a random one

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Validate `values`. Raises UserError that lists each invalid one, what was expected and what was found."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            raise UserError("; ".join(explain(error, cls.model_fields, unknown=f"expected {known}"))) from None
