"""Parameters of the section `generate`: which stories to generate, and how."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import LARGEST_CONTEXT, Prompt, Seed, Temperature, listed
from tinylm.base.params import Section

Prompts = Annotated[tuple[Prompt, ...], Field(strict=False), listed(1, 1_000)]
Temperatures = Annotated[tuple[Temperature, ...], Field(strict=False), listed(0, 20)]


class GenerateParams(Section):
    name: ClassVar[str] = "generate"

    prompts: Prompts  # how stories begin
    stories_per_prompt: Annotated[int, Field(gt=0, le=1_000)]  # stories of the final model for each prompt
    temperature: Temperature  # 0: greedy; 1: the model's own distribution
    other_temperatures: Temperatures  # more temperatures for the final model
    top_k: Annotated[int, Field(gt=0, le=1_000_000)] | None  # sample from the k most likely tokens; null: no limit
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # nucleus of this total probability; null: no limit
    max_tokens: Annotated[int, Field(gt=0, le=LARGEST_CONTEXT)]  # longest story, prompt included [tokens]
    checkpoints: bool  # also generate one story per prompt with every checkpoint
    judged_stories: Annotated[int, Field(ge=2, le=100_000)]  # stories behind each metric of metrics/generate.json
    judged_words: Annotated[int, Field(gt=0, le=1_000)]  # words of a held-out story that prompt a judged story
    judged_temperature: Temperature  # of the checkpoints' judged stories
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: the fastest, on CPUs fp32
    seed: Seed  # of the sampling

    @classmethod
    def conflicts_with(
        cls, others: Mapping[str, Mapping[str, Any]], good: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        context, longest = others["model"].get("context"), good.get("max_tokens")
        if context and longest and longest >= context:
            room = f"less than model.context = {context}, since a story starts after an end-of-text token"
            yield "max_tokens", f"expected {room}, got {longest}; lower it, or raise model.context"
