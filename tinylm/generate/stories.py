"""Stories as text: prompts in, stories out, and what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import MOST_AT_ONCE, Generated, compile_step, generate
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import end_of_text_id


@dataclass(frozen=True)
class Story:
    step: int  # of the weights that wrote it
    prompt: str
    text: str  # with the prompt
    tokens: int  # with the prompt's
    ended: bool  # by itself, and not at the limit
    mean_log_probability: float  # of what was drawn, at temperature 1 [nats per token]
    temperature: float
    seed: int


def generate_stories(
    model: Transformer,
    tokenizer: Tokenizer,
    step: int,
    prompts: Sequence[str],
    per_prompt: int,
    sampling: Sampling,
    compiled: bool = False,
) -> list[Story]:
    """`per_prompt` stories for each prompt. The n-th story of a prompt draws alike from every model."""
    # Numbers differ as long as a prompt has at most 1,000 stories, which generate.stories_per_prompt allows.
    asked = [(prompt, place * 1000 + n) for place, prompt in enumerate(prompts) for n in range(per_prompt)]
    ids = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt, _ in asked]
    numbers = [number for _, number in asked]
    compiled_step = compile_step(model, min(len(asked), MOST_AT_ONCE)) if compiled else None
    written = generate(model, ids, numbers, sampling, end_of_text_id(tokenizer), compiled_step)
    return [
        _to_story(story, tokenizer, prompt, sampling, step) for (prompt, _), story in zip(asked, written, strict=True)
    ]


def _to_story(generated: Generated, tokenizer: Tokenizer, prompt: str, sampling: Sampling, step: int) -> Story:
    ids = generated.prompt + generated.continuation
    return Story(
        step=step,
        prompt=prompt,
        text=tokenizer.decode(ids),
        tokens=len(ids),
        ended=generated.ended,
        mean_log_probability=generated.log_probability,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
