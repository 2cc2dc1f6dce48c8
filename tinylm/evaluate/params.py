"""Parameters of the section `evaluate`: how to score the whole validation split."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from tinylm.base.fields import Batch, Stride
from tinylm.base.params import Section


class EvaluateParams(Section):
    name: ClassVar[str] = "evaluate"

    stride: Stride | None  # new tokens per window, the rest is context; null: half of the context
    batch_size: Batch  # windows in memory at once
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where the hardware has it

    @classmethod
    def conflicts_with(
        cls, others: Mapping[str, Mapping[str, Any]], good: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        context, stride = others["model"].get("context"), good.get("stride")
        if context and stride and stride > context:
            yield "stride", f"expected at most model.context = {context}, got {stride}"
