"""What a score leaves on the disk: metrics, tables for plots, and the loss of each story."""

from dataclasses import asdict, dataclass
from itertools import repeat
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm import atomic
from tinylm.bootstrap import ratio, ratio_interval
from tinylm.calibration import calibration_error, reliability
from tinylm.evaluation import Score
from tinylm.story_losses import StoryLosses
from tinylm.tables import write_csv
from tinylm.token_kinds import KINDS, classify
from tinylm.tokens import TokenSplit


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
        "reliability": {"calibration_error": calibration_error(reliability(score.confidence, score.correct))},
        "split": {"stories": len(stories.nats), "tokens": len(score.nats), "text_bytes": score.text_bytes},
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
    write_csv(root / "plots/loss_by_position.csv", positions)
    write_csv(root / "plots/loss_by_kind.csv", by_kind(score, kinds))
    write_csv(root / "plots/calibration.csv", map(asdict, bins))
    write_csv(root / "artifacts/evaluation/stories.csv", _rows(stories))
    return metrics


def _rows(stories: StoryScores) -> list[dict[str, Any]]:
    """A row for each story; without bytes for a lossy tokenizer."""
    columns = {"story": range(len(stories.nats))} | {
        name: repeat(None) if values is None else values.tolist() for name, values in vars(stories).items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
