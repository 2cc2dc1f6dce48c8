"""`generate`: which stories are written, and how."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import LARGEST_CONTEXT, Prompt, Seed, Temperature, listed
from tinylm.base.params import Section

Prompts = Annotated[tuple[Prompt, ...], Field(strict=False), listed(1, 1_000)]
Temperatures = Annotated[tuple[Temperature, ...], Field(strict=False), listed(0, 20)]


class GenerateParams(Section):
    name: ClassVar[str] = "generate"

    prompts: Prompts  # beginnings of stories
    stories_per_prompt: Annotated[int, Field(gt=0, le=1_000)]  # of the final model
    temperature: Temperature  # 0: always the likeliest token; 1: the model's own distribution
    other_temperatures: Temperatures  # written and judged too
    top_k: Annotated[int, Field(gt=0, le=1_000_000)] | None  # draw from the k likeliest tokens; null: from all
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # draw from the likeliest tokens of this total probability
    max_tokens: Annotated[int, Field(gt=0, le=LARGEST_CONTEXT)]  # longest story, its prompt included [tokens]
    checkpoints: bool  # also write the first story of each prompt at every checkpoint
    judged_stories: Annotated[int, Field(ge=2, le=100_000)]  # behind each figure of metrics/generate.json
    judged_words: Annotated[int, Field(gt=0, le=1_000)]  # of a held-out story, with which a judged one begins
    judged_temperature: Temperature  # of the checkpoints' judged stories
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where hardware has it
    seed: Seed  # of the draws

    @classmethod
    def conflicts_with(
        cls, others: Mapping[str, Mapping[str, Any]], good: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        context, longest = others["model"].get("context"), good.get("max_tokens")
        if context and longest and longest >= context:
            room = f"less than model.context = {context}, since a story begins after an end-of-text token"
            yield "max_tokens", f"expected {room}, got {longest}; lower it, or raise model.context"
