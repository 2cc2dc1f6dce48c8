"""`pretokenize`: the corpus as a stream of ids."""

from typing import Annotated, ClassVar

from pydantic import Field

from tinylm.params import Section


class PretokenizeParams(Section):
    name: ClassVar[str] = "pretokenize"

    max_tokens: Annotated[int, Field(gt=0)] | None  # training tokens kept, cut at a story's end; null: all
