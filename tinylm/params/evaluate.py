"""`evaluate`: how the whole validation split is scored."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tinylm.params import Section


class EvaluateParams(Section):
    name: ClassVar[str] = "evaluate"

    stride: Annotated[int, Field(gt=0)] | None  # tokens scored per window, the rest is context; null: half the context
    batch_size: Annotated[int, Field(gt=0)]  # windows at once in memory
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where hardware has it
