"""Generate stories as text, with metadata."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import MAX_BATCH, Generated, compile_step, generate
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import end_of_text_id


@dataclass(frozen=True)
class Story:
    """A generated story; the fields are the keys of stories.jsonl."""

    step: int  # training step of the model
    prompt: str
    text: str  # prompt included
    tokens: int  # prompt included
    ended: bool  # whether it reached end-of-text, and not the limit
    mean_log_probability: float  # of the sampled tokens, at temperature 1 [nats per token]
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
    """Generate `per_prompt` stories for each prompt; returns them in the order of the prompts.

    The n-th story of a prompt uses the same random numbers with every model. Raises UserError if a prompt is too long.
    """
    # Unique for up to 1,000 stories per prompt, the upper bound of generate.stories_per_prompt.
    requests = [(prompt, index * 1000 + n) for index, prompt in enumerate(prompts) for n in range(per_prompt)]
    ids = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt, _ in requests]
    numbers = [number for _, number in requests]
    compiled_step = compile_step(model, min(len(requests), MAX_BATCH)) if compiled else None
    generated = generate(model, ids, numbers, sampling, end_of_text_id(tokenizer), compiled_step)
    return [
        _to_story(story, tokenizer, prompt, sampling, step)
        for (prompt, _), story in zip(requests, generated, strict=True)
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
