"""Stories that are written to be judged: by every checkpoint, at every temperature, beside those of people.

All go on from the first words of held-out stories, so that the people's own endings are what they compare with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from tinylm.generate.metrics.lexical import Figures, Judged, judge, mean, nearest, rouge
from tinylm.generate.metrics.novelty import longest_matches
from tinylm.generate.picking import pick_stories
from tinylm.generate.stories import Story, generate_stories
from tinylm.model.transformer import Transformer
from tinylm.sampling.sampler import Sampling

CUT = 0.4  # of a story's tokens are given where its ending is compared: what Eldan & Li 2023 cut at


@dataclass(frozen=True)
class StoryGenerator:
    """A model that writes, with what it takes to."""

    model: Transformer
    tokenizer: Tokenizer
    step: int  # that its weights are of
    compiled: bool = False

    def write(self, prompts: Sequence[str], sampling: Sampling, each: int = 1) -> list[Story]:
        return generate_stories(self.model, self.tokenizer, self.step, prompts, each, sampling, self.compiled)


@dataclass(frozen=True)
class HumanStory:
    """A held-out story as far as a model may write, and its beginning."""

    beginning: str
    text: str
    ended: bool


def human_stories(corpus: Path, tokenizer: Tokenizer, sampling: Sampling, count: int, words: int) -> list[HumanStory]:
    """`count` held-out stories, or all, of those that go on after their first `words` words.

    A story whose first words fill all the room that there is (`sampling.max_tokens`) is left out.
    """
    stories = []
    for text in pick_stories(corpus, count, sampling.seed):
        beginning = first_words(text, words)
        if beginning and len(tokenizer.encode(beginning, add_special_tokens=False).ids) < sampling.max_tokens:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cut = tokenizer.decode(ids[: sampling.max_tokens])
            stories.append(HumanStory(beginning, cut, len(ids) < sampling.max_tokens))  # with its end-of-text id
    return stories


def first_words(text: str, count: int) -> str | None:
    """The text's beginning up to the end of so many words; None where nothing comes after them."""
    found = re.match(rf"\s*(?:\S+\s+){{{count - 1}}}\S+(?=\s+\S)", text)
    return found[0] if found else None


def judge_all(groups: Sequence[Sequence[Story | HumanStory]], training_stories: Path) -> list[Figures]:
    """The figures of each group of stories. The training stories are read once for all of them."""
    matches = iter(longest_matches([story.text for group in groups for story in group], training_stories))
    return [judge([Judged(story.text, story.ended, next(matches)) for story in group]) for group in groups]


def judge_endings(generator: StoryGenerator, corpus: Path, sampling: Sampling, count: int) -> Figures:
    """Rouge-2 of the endings that a model gives to cut stories with their own endings (Eldan & Li 2023, section 4.4).

    Of training stories and, for comparison, held-out ones: if the former are much more alike, they were learned by
    heart. `nearest` is how near each ending comes to the one most like it of the others that the model wrote.
    """
    endings: dict[str, list[str]] = {}
    figures: Figures = {}
    for split in ("train", "val"):
        texts = pick_stories(corpus / f"{split}.parquet", count, sampling.seed)
        parts = (_cut(text, generator.tokenizer, sampling.max_tokens) for text in texts)
        cut = [part for part in parts if part]
        written = generator.write([beginning for beginning, _ in cut], sampling)
        endings[split] = [story.text[len(story.prompt) :] for story in written]
        pairs = zip(endings[split], cut, strict=True)
        figures[f"ending_rouge2_{split}"] = mean(rouge(ending, original) for ending, (_, original) in pairs)
    figures["nearest_rouge2"] = nearest(endings["train"])
    return figures


def _cut(text: str, tokenizer: Tokenizer, most: int) -> tuple[str, str] | None:
    """(beginning, ending) of a story, at the end of a word near CUT of what the model may write; None: too short."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    end = encoded.offsets[min(len(encoded.ids), most) - 1][1] if encoded.ids else 0
    place = text.rfind(" ", 0, int(CUT * end))
    return (text[:place], text[place:end]) if place > 0 else None
