"""`evaluate`: how the whole validation split is scored."""

from typing import Annotated, ClassVar

from pydantic import Field

from tinylm.params import Section


class EvaluateParams(Section):
    name: ClassVar[str] = "evaluate"

    stride: Annotated[int, Field(gt=0)] | None  # tokens scored per window, the rest is context; null: half the context
    batch_size: Annotated[int, Field(gt=0)]  # windows at once in memory
