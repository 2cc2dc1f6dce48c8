"""What a score leaves on the disk: metrics, tables for plots, and the loss of each story."""

from dataclasses import asdict, dataclass
from itertools import repeat
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.base import atomic
from tinylm.evaluate.calibration import expected_calibration_error, reliability
from tinylm.evaluate.score import Score
from tinylm.scoring.bootstrap import ratio, ratio_interval
from tinylm.scoring.story_losses import StoryLosses
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokens.store import TokenSplit

KINDS = ("word_start", "continuation", "punctuation", "end_of_text")
PART_OF_CHARACTER = "\ufffd"  # what a token decodes to that is not a whole character: of a letter, as a rule


@dataclass(frozen=True)
class StoryScores(StoryLosses):
    correct: NDArray[np.float64]  # (stories,) tokens that were the likeliest one


def score_stories(score: Score, split: TokenSplit) -> StoryScores:
    starts = split.offsets[:-1].astype(np.int64)
    nats, correct = (np.add.reduceat(values.astype(np.float64), starts) for values in (score.nats, score.correct))
    return StoryScores(nats, split.story_tokens, split.story_bytes, correct)


def summarize(score: Score, stories: StoryScores, kinds: NDArray[np.int8]) -> dict[str, Any]:
    """For metrics/evaluate.json: the four main figures first, also in the alphabetical order of `dvc metrics diff`.

    `range95` holds the intervals over stories (bootstrap.py). For a lossy tokenizer bits per byte are None.
    """
    bits = stories.bits_per_byte_interval()
    return {
        "loss": stories.loss,
        "perplexity": exp(stories.loss),
        "bits_per_byte": stories.bits_per_byte,
        "accuracy": ratio(stories.correct, stories.tokens),
        "range95": {
            "loss": asdict(stories.loss_interval()),
            "bits_per_byte": asdict(bits) if bits else None,
            "accuracy": asdict(ratio_interval(stories.correct, stories.tokens)),
        },
        "reliability": {"calibration_error": expected_calibration_error(reliability(score.confidence, score.correct))},
        "split": {
            "stories": len(stories.nats),
            "tokens": len(score.nats),
            "text_bytes": None if stories.text_bytes is None else int(stories.text_bytes.sum()),
        },
        "token_kinds": {
            row["kind"]: {name: row[name] for name in row if name != "kind"} for row in by_kind(score, kinds)
        },
    }


def by_kind(score: Score, kinds: NDArray[np.int8]) -> list[dict[str, Any]]:
    """Loss and accuracy of each kind of token that occurs."""
    rows = []
    for place, kind in enumerate(KINDS):
        among = kinds == place
        if among.any():
            loss, accuracy = (float(values[among].mean(dtype=np.float64)) for values in (score.nats, score.correct))
            rows.append({"kind": kind, "tokens": int(among.sum()), "loss": loss, "accuracy": accuracy})
    return rows


def write_score(score: Score, split: TokenSplit, tokenizer: Tokenizer, root: Path) -> dict[str, Any]:
    """Write all files below `root`; gives the metrics."""
    stories, kinds = score_stories(score, split), classify(split.tokens, tokenizer)
    bins = reliability(score.confidence, score.correct)
    metrics = summarize(score, stories, kinds)
    atomic.write_json(root / "metrics/evaluate.json", metrics)
    positions = [{"position": place + 1, "loss": loss} for place, loss in enumerate(score.position_nats.tolist())]
    atomic.write_csv(root / "plots/loss_by_position.csv", positions)
    atomic.write_csv(root / "plots/loss_by_kind.csv", by_kind(score, kinds))
    atomic.write_csv(root / "plots/calibration.csv", map(asdict, bins))
    atomic.write_csv(root / "artifacts/evaluation/stories.csv", _rows(stories))
    return metrics


def _rows(stories: StoryScores) -> list[dict[str, Any]]:
    """A row for each story; without bytes for a lossy tokenizer."""
    columns = {"story": range(len(stories.nats))} | {
        name: repeat(None) if values is None else values.tolist() for name, values in vars(stories).items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]


def classify(ids: NDArray[np.unsignedinteger], tokenizer: Tokenizer) -> NDArray[np.int8]:
    """The place in KINDS of each id of a stream.

    A word's start holds letters or digits after a space or a sign; its continuation follows a letter or digit
    directly. Punctuation holds neither: signs and white space.
    """
    texts = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in range(tokenizer.get_vocab_size())]
    has_letters = np.array([any(map(_is_letter, text)) for text in texts])
    after_space = np.array([text[:1].isspace() for text in texts])
    open_end = np.array([bool(text) and _is_letter(text[-1]) for text in texts])
    open_end[end_of_text_id(tokenizer)] = False  # a story's first word is no continuation of the mark before it
    goes_on = np.concatenate([[False], open_end[ids[:-1]]])
    kinds = np.where(has_letters[ids], np.where(goes_on & ~after_space[ids], 1, 0), 2)
    kinds[ids == end_of_text_id(tokenizer)] = 3
    return kinds.astype(np.int8)


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == PART_OF_CHARACTER
