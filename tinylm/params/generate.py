"""`generate`: which stories are written, and how."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tinylm.params import Section


class GenerateParams(Section):
    name: ClassVar[str] = "generate"

    prompts: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # beginnings of stories
    stories_per_prompt: Annotated[int, Field(gt=0)]  # of the final model
    temperature: Annotated[float, Field(ge=0)]  # 0: always the likeliest token; 1: the model's own distribution
    other_temperatures: tuple[Annotated[float, Field(ge=0)], ...] = Field(strict=False)  # written and judged too
    top_k: Annotated[int, Field(gt=0)] | None  # draw from the k likeliest tokens; null: from all
    top_p: Annotated[float, Field(gt=0, le=1)] | None  # draw from the likeliest tokens of this total probability
    max_tokens: Annotated[int, Field(gt=0)]  # longest story, its prompt included [tokens]
    milestones: bool  # also write the first story of each prompt at every milestone
    judged_stories: Annotated[int, Field(ge=2)]  # behind each figure of metrics/generate.json
    judged_words: Annotated[int, Field(gt=0)]  # of a held-out story, with which a judged one begins
    judged_temperature: Annotated[float, Field(ge=0)]  # of the milestones' judged stories
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where hardware has it
    seed: Annotated[int, Field(ge=0)]
