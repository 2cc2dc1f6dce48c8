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
from tinylm.generate.stories import Story
from tinylm.sampling.sampler import Sampling

CUT = 0.4  # share of a story that is the prompt when endings are compared, as in Eldan & Li 2023
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class CutStory:
    """A story of the corpus, split into a prompt and its ending."""

    prompt: str
    ending: str


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


def cut_stories(corpus: Path, tokenizer: Tokenizer, count: int, max_tokens: int, seed: int) -> list[CutStory]:
    """Pick `count` stories of a corpus file, or all if there are fewer, and cut them; leaves out those too short."""
    cuts = (_cut(text, tokenizer, max_tokens) for text in pick_stories(corpus, count, seed))
    return [cut for cut in cuts if cut]


def _cut(text: str, tokenizer: Tokenizer, max_tokens: int) -> CutStory | None:
    """Split the first `max_tokens` tokens of a story at the last space before CUT; None if there is no such space."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    end = encoded.offsets[min(len(encoded.ids), max_tokens) - 1][1] if encoded.ids else 0
    space = text.rfind(" ", 0, int(CUT * end))
    return CutStory(text[:space], text[space:end]) if space > 0 else None


def judge_endings(cuts: Mapping[str, Sequence[CutStory]], completed: Mapping[str, Sequence[Story]]) -> Metrics:
    """Return the Rouge-2 of completed stories with the original endings (Eldan & Li 2023, section 4.4).

    The keys are `train` and `val`, the splits that the stories are from: a much higher value for training stories
    means memorization. `nearest_rouge2` is the mean Rouge-2 of each generated ending of `train` with the most similar
    other one.
    """
    metrics: Metrics = {}
    endings = {split: [story.text[len(story.prompt) :] for story in stories] for split, stories in completed.items()}
    for split, originals in cuts.items():
        pairs = zip(endings[split], originals, strict=True)
        metrics[f"ending_rouge2_{split}"] = mean(rouge(ending, original.ending) for ending, original in pairs)
    metrics["nearest_rouge2"] = nearest(endings["train"])
    return metrics
