"""`evaluate`: how the whole validation split is scored."""

from typing import ClassVar, Literal

from tinylm.params import Section
from tinylm.params.fields import Batch, Stride


class EvaluateParams(Section):
    name: ClassVar[str] = "evaluate"

    stride: Stride | None  # tokens scored per window, the rest is context; null: half the context
    batch_size: Batch  # windows at once in memory
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where hardware has it
