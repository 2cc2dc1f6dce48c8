"""`pretokenize`: the corpus as a stream of ids."""

from typing import Annotated, ClassVar

from pydantic import Field

from tinylm.base.params import Section

Tokens = Annotated[int, Field(gt=0, le=10**13)]


class PretokenizeParams(Section):
    name: ClassVar[str] = "pretokenize"

    max_tokens: Tokens | None  # training tokens kept, cut at a story's end; null: all
    lossy: bool  # take a tokenizer that does not give every story back; its bits per byte are null
