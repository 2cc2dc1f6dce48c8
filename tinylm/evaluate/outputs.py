"""Files written by the stage evaluate: metrics, tables for plots, and the loss of each story."""

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
from tinylm.tokens.shards import Ids
from tinylm.tokens.store import TokenSplit

KINDS = ("word_start", "continuation", "punctuation", "end_of_text")
PART_OF_CHARACTER = "\ufffd"  # a token that is an incomplete character decodes to this; usually part of a letter


@dataclass(frozen=True)
class StoryScores(StoryLosses):
    """Sums over the tokens of each story; the fields are the columns of stories.csv."""

    correct: NDArray[np.float64]  # (stories,) tokens that are the most likely prediction


def score_stories(score: Score, split: TokenSplit) -> StoryScores:
    """Sum the scores of the tokens of each story."""
    starts = np.asarray(split.offsets[:-1]).astype(np.int64)
    nats, correct = (np.add.reduceat(values.astype(np.float64), starts) for values in (score.nats, score.correct))
    return StoryScores(nats, split.story_tokens, split.story_bytes, correct)


def summarize(score: Score, stories: StoryScores, kinds: NDArray[np.int8]) -> dict[str, Any]:
    """Return the contents of metrics/evaluate.json.

    The names are chosen so that the four main metrics also come first in `dvc metrics diff`, which sorts them.
    `range95` holds the confidence intervals over stories (scoring/bootstrap.py). For a lossy tokenizer, bits per byte
    are None.
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
    """Return a row for each kind of token that occurs: its number of tokens, loss and accuracy."""
    rows = []
    for index, kind in enumerate(KINDS):
        selected = kinds == index
        if selected.any():
            loss, accuracy = (float(values[selected].mean(dtype=np.float64)) for values in (score.nats, score.correct))
            rows.append({"kind": kind, "tokens": int(selected.sum()), "loss": loss, "accuracy": accuracy})
    return rows


def write_score(score: Score, split: TokenSplit, tokenizer: Tokenizer, root: Path) -> dict[str, Any]:
    """Write all files below `root`; returns the metrics, as in metrics/evaluate.json."""
    stories, kinds = score_stories(score, split), classify(split.tokens, tokenizer)
    bins = reliability(score.confidence, score.correct)
    metrics = summarize(score, stories, kinds)
    atomic.write_json(root / "metrics/evaluate.json", metrics)
    positions = [{"position": index + 1, "loss": loss} for index, loss in enumerate(score.position_nats.tolist())]
    atomic.write_csv(root / "plots/loss_by_position.csv", positions)
    atomic.write_csv(root / "plots/loss_by_kind.csv", by_kind(score, kinds))
    atomic.write_csv(root / "plots/calibration.csv", map(asdict, bins))
    atomic.write_csv(root / "artifacts/evaluation/stories.csv", _rows(stories))
    return metrics


def _rows(stories: StoryScores) -> list[dict[str, Any]]:
    """Return a row for each story; `text_bytes` is None for a lossy tokenizer."""
    columns = {"story": range(len(stories.nats))} | {
        name: repeat(None) if values is None else values.tolist() for name, values in vars(stories).items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]


def classify(stream: Ids, tokenizer: Tokenizer) -> NDArray[np.int8]:
    """Return the index into KINDS of each id of a stream, (tokens,).

    Tokens without letters or digits are punctuation. The others are a continuation if they directly follow a letter
    or digit, and else a word start.
    """
    ids = np.asarray(stream)
    texts = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in range(tokenizer.get_vocab_size())]
    has_letters = np.array([any(map(_is_letter, text)) for text in texts])
    starts_with_space = np.array([text[:1].isspace() for text in texts])
    open_end = np.array([bool(text) and _is_letter(text[-1]) for text in texts])
    open_end[end_of_text_id(tokenizer)] = False  # the first word of a story continues nothing
    after_letter = np.concatenate([[False], open_end[ids[:-1]]])
    kinds = np.where(has_letters[ids], np.where(after_letter & ~starts_with_space[ids], 1, 0), 2)
    kinds[ids == end_of_text_id(tokenizer)] = 3
    return kinds.astype(np.int8)


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == PART_OF_CHARACTER
