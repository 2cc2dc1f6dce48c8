"""`pretokenize`: encoding the corpus as token ids."""

from typing import Annotated, ClassVar

from pydantic import Field

from tinylm.base.params import Section

Tokens = Annotated[int, Field(gt=0, le=10**13)]


class PretokenizeParams(Section):
    name: ClassVar[str] = "pretokenize"

    max_tokens: Tokens | None  # training tokens to keep, rounded down to whole stories; null: all
    lossy: bool  # allow a tokenizer that cannot restore every story; bits per byte are then null
