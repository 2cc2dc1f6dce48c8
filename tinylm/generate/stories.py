"""Generate stories as text, with metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from tokenizers import Tokenizer

from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import Generated, generate
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


@dataclass(frozen=True)
class StorySet:
    """Stories to generate with the same settings: `per_prompt` for each prompt."""

    prompts: Sequence[str]
    sampling: Sampling
    per_prompt: int = 1


@dataclass(frozen=True)
class StoryGenerator:
    """A model with all that it needs to generate stories."""

    model: Transformer
    tokenizer: Tokenizer
    step: int  # training step of the model

    def generate(self, *sets: StorySet) -> list[list[Story]]:
        """Return the stories of each set, in the order of its prompts; all sets are generated together.

        The n-th story of a prompt uses the same random numbers with every model. Raises UserError if a prompt is too
        long.
        """
        todo = [
            # Unique for up to 1,000 stories per prompt, the upper bound of generate.stories_per_prompt.
            (prompt, index * 1000 + n, each.sampling)
            for each in sets
            for index, prompt in enumerate(each.prompts)
            for n in range(each.per_prompt)
        ]
        if not todo:
            return [[] for _ in sets]
        prompts, numbers, samplings = zip(*todo, strict=True)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(prompts, add_special_tokens=False)]
        generated = generate(self.model, ids, numbers, samplings, end_of_text_id(self.tokenizer))
        stories = (self._story(*each) for each in zip(generated, prompts, samplings, strict=True))
        return [list(islice(stories, len(each.prompts) * each.per_prompt)) for each in sets]

    def _story(self, generated: Generated, prompt: str, sampling: Sampling) -> Story:
        ids = generated.prompt + generated.continuation
        return Story(
            step=self.step,
            prompt=prompt,
            text=self.tokenizer.decode(ids),
            tokens=len(ids),
            ended=generated.ended,
            mean_log_probability=generated.log_probability,
            temperature=sampling.temperature,
            seed=sampling.seed,
        )
