"""Judged stories: generated to compute metrics, and compared with human stories.

Their prompts are the first words of held-out stories, so that the original stories are the human reference.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tokenizers import Tokenizer

from tinylm.generate.metrics.lexical import Judged, Metrics, judge, mean, nearest, rouge
from tinylm.generate.metrics.novelty import longest_matches
from tinylm.generate.picking import pick_stories
from tinylm.generate.stories import Story, generate_stories
from tinylm.model.transformer import Transformer
from tinylm.sampling.sampler import Sampling

CUT = 0.4  # share of a story that is the prompt when endings are compared, as in Eldan & Li 2023
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class StoryGenerator:
    """A model with all that it needs to generate stories."""

    model: Transformer
    tokenizer: Tokenizer
    step: int  # training step of the model
    compiled: bool = False

    def generate(self, prompts: Sequence[str], sampling: Sampling, per_prompt: int = 1) -> list[Story]:
        """Return `per_prompt` stories for each prompt."""
        return generate_stories(self.model, self.tokenizer, self.step, prompts, per_prompt, sampling, self.compiled)


@dataclass(frozen=True)
class HumanStory:
    """A held-out story, cut at the same limit as generated stories, and its prompt."""

    prompt: str
    text: str
    ended: bool  # whether the story and its end-of-text token are within the limit


def human_stories(corpus: Path, tokenizer: Tokenizer, sampling: Sampling, count: int, words: int) -> list[HumanStory]:
    """Pick `count` held-out stories, or all if there are fewer; their prompts are their first `words` words.

    Leaves out stories that have no more words, and those whose prompt leaves no room within `sampling.max_tokens`.
    """
    stories = []
    for text in pick_stories(corpus, count, sampling.seed):
        prompt = first_words(text, words)
        if prompt and len(tokenizer.encode(prompt, add_special_tokens=False).ids) < sampling.max_tokens:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cut = tokenizer.decode(ids[: sampling.max_tokens])
            stories.append(HumanStory(prompt, cut, len(ids) < sampling.max_tokens))
    return stories


def first_words(text: str, count: int) -> str | None:
    """Return the first `count` words of the text; None if no word follows them."""
    match = re.match(rf"\s*(?:\S+\s+){{{count - 1}}}\S+(?=\s+\S)", text)
    return match[0] if match else None


def judge_all(groups: Mapping[Key, Sequence[Story | HumanStory]], training_stories: Path) -> dict[Key, Metrics]:
    """Return the metrics of each group of stories; reads the training stories (a corpus file) once for all groups."""
    matches = iter(longest_matches([story.text for group in groups.values() for story in group], training_stories))
    return {
        key: judge([Judged(story.text, story.ended, next(matches)) for story in group]) for key, group in groups.items()
    }


def judge_endings(generator: StoryGenerator, corpus: Path, sampling: Sampling, count: int) -> Metrics:
    """Let the model complete cut stories; returns the Rouge-2 with the original endings (Eldan & Li 2023, section 4.4).

    Compares training and held-out stories: a much higher value for training stories means memorization.
    `nearest_rouge2` is the mean Rouge-2 of each generated ending with the most similar other one.
    """
    endings: dict[str, list[str]] = {}
    metrics: Metrics = {}
    for split in ("train", "val"):
        texts = pick_stories(corpus / f"{split}.parquet", count, sampling.seed)
        cuts = (_cut(text, generator.tokenizer, sampling.max_tokens) for text in texts)
        parts = [part for part in cuts if part]
        generated = generator.generate([prompt for prompt, _ in parts], sampling)
        endings[split] = [story.text[len(story.prompt) :] for story in generated]
        pairs = zip(endings[split], parts, strict=True)
        metrics[f"ending_rouge2_{split}"] = mean(rouge(ending, original) for ending, (_, original) in pairs)
    metrics["nearest_rouge2"] = nearest(endings["train"])
    return metrics


def _cut(text: str, tokenizer: Tokenizer, max_tokens: int) -> tuple[str, str] | None:
    """Split the first `max_tokens` tokens of a story into (prompt, ending), at the last space before CUT.

    None if there is no such space.
    """
    encoded = tokenizer.encode(text, add_special_tokens=False)
    end = encoded.offsets[min(len(encoded.ids), max_tokens) - 1][1] if encoded.ids else 0
    space = text.rfind(" ", 0, int(CUT * end))
    return (text[:space], text[space:end]) if space > 0 else None
