"""Kinds of tokens, calibration, and the files of the stage evaluate."""

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.support import tiny
from tinylm.base import atomic
from tinylm.evaluate.calibration import expected_calibration_error, reliability
from tinylm.evaluate.outputs import KINDS, StoryScores, classify, score_stories, summarize, write_score
from tinylm.evaluate.score import Score, score_split
from tinylm.scoring.bootstrap import ratio_interval
from tinylm.tokenizer.loading import END_OF_TEXT, load_tokenizer
from tinylm.tokens.store import TokenStore


@pytest.fixture
def tokenizer(tiny_store: Path) -> Tokenizer:
    return load_tokenizer(tiny_store / "tokenizer.json")


def kinds_of(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    encoded = tokenizer.encode(text)
    kinds = classify(np.array(encoded.ids, "<u2"), tokenizer)
    texts = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in encoded.ids]
    return [(text, KINDS[kind]) for text, kind in zip(texts, kinds, strict=True)]


def test_the_kind_of_each_token(tokenizer: Tokenizer) -> None:
    kinds = kinds_of(tokenizer, f'Xylo was.\n"Qu" 7{END_OF_TEXT}Tom é')
    text = "".join(part for part, _ in kinds)
    assert text.startswith("Xylo was.")
    assert kinds[0] == ("X", "word_start")
    assert ("y", "continuation") in kinds
    assert (" was", "word_start") in kinds
    assert (".", "punctuation") in kinds
    assert ("\n", "punctuation") in kinds
    assert ("Q", "word_start") in kinds
    assert (END_OF_TEXT, "end_of_text") in kinds
    after = kinds[kinds.index((END_OF_TEXT, "end_of_text")) + 1]
    assert after[1] == "word_start"
    assert kinds[-1] == ("\ufffd", "continuation")  # the second half of é


def test_a_calibrated_model_has_no_calibration_error() -> None:
    confidence = np.repeat(np.float32([0.25, 0.75]), 400)
    correct = np.tile([True, False, False, False], 100).tolist() + np.tile([True, True, True, False], 100).tolist()
    bins = reliability(confidence, np.array(correct))
    assert [(bin_.confidence, bin_.accuracy, bin_.tokens) for bin_ in bins] == [(0.25, 0.25, 400), (0.75, 0.75, 400)]
    assert expected_calibration_error(bins) == 0
    assert expected_calibration_error(reliability(confidence, np.zeros(800, bool))) == pytest.approx(0.5)
    assert expected_calibration_error(reliability(np.ones(5, np.float32), np.ones(5, bool))) == 0


def test_bins_are_fifteenths_and_the_last_one_includes_one() -> None:
    confidence = np.float32([6.9 / 15, 7.1 / 15, 12.5 / 15, 13.5 / 15, 14.5 / 15, 1.0])
    bins = reliability(confidence, np.array([False, True, True, True, False, True]))
    assert [bin_.tokens for bin_ in bins] == [1, 1, 1, 1, 2]
    assert [bin_.accuracy for bin_ in bins] == [0, 1, 1, 1, 0.5]
    assert [bin_.confidence for bin_ in bins] == pytest.approx([6.9 / 15, 7.1 / 15, 12.5 / 15, 13.5 / 15, 29.5 / 30])


def test_the_files_agree_with_each_other(tokenizer: Tokenizer, tiny_tokens: TokenStore, tmp_path: Path) -> None:
    model = tiny.make_model(300, spread=0.1)
    score = score_split(model, tiny_tokens.val, tiny_tokens.end_of_text, 32, batch=8, bar=False)
    metrics = write_score(score, tiny_tokens.val, tokenizer, tmp_path)
    assert metrics == json.loads((tmp_path / "metrics/evaluate.json").read_text())
    main = ["loss", "perplexity", "bits_per_byte", "accuracy"]
    assert list(metrics)[:4] == main
    assert sorted(metrics)[:4] == sorted(main)  # as `dvc metrics diff` sorts them
    for name, interval in metrics["range95"].items():
        assert interval["low"] <= metrics[name] <= interval["high"]
    assert metrics["range95"]["loss"]["low"] < metrics["loss"] < metrics["range95"]["loss"]["high"]
    kinds = metrics["token_kinds"].values()
    assert sum(kind["tokens"] for kind in kinds) == metrics["split"]["tokens"]
    assert sum(kind["tokens"] * kind["loss"] for kind in kinds) == pytest.approx(score.total_nats, rel=1e-5)
    with open(tmp_path / "artifacts/evaluation/stories.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["story", "nats", "tokens", "text_bytes", "correct"]
    assert [row["story"] for row in rows] == [str(number) for number in range(tiny_tokens.val.info.stories)]
    assert sum(float(row["nats"]) for row in rows) == pytest.approx(score.total_nats, rel=1e-5)
    assert sum(int(row["text_bytes"]) for row in rows) == metrics["split"]["text_bytes"]
    assert sum(int(row["tokens"]) for row in rows) == metrics["split"]["tokens"]
    positions, by_kind, calibration = (
        (tmp_path / f"plots/{name}.csv").read_text().splitlines()
        for name in ("loss_by_position", "loss_by_kind", "calibration")
    )
    losses = [f"{position},{loss:.7g}" for position, loss in enumerate(score.position_nats.tolist(), start=1)]
    assert positions == ["position,loss", *losses]
    assert by_kind[0] == "kind,tokens,loss,accuracy"
    assert [row.split(",")[0] for row in by_kind[1:]] == list(metrics["token_kinds"])
    assert calibration[0] == "confidence,accuracy,tokens"
    right = sum(float(row.split(",")[1]) * int(row.split(",")[2]) for row in calibration[1:])
    assert right == pytest.approx(score.correct.sum(), rel=1e-5)


def test_scores_are_summed_by_story(tokenizer: Tokenizer, tiny_tokens: TokenStore) -> None:
    score = score_split(tiny.make_model(300), tiny_tokens.val, tiny_tokens.end_of_text, 32, batch=8, bar=False)
    stories = score_stories(score, tiny_tokens.val)
    second = slice(*(int(offset) for offset in tiny_tokens.val.offsets[1:3]))
    assert stories.nats[1] == pytest.approx(float(score.nats[second].sum()), rel=1e-5)
    assert stories.correct[1] == score.correct[second].sum()
    assert stories.text_bytes[1] == len(tokenizer.decode(tiny_tokens.val.tokens[second].tolist()).encode())


def test_intervals_are_over_stories_in_the_unit_of_their_metric() -> None:
    """Nats per token, bits per byte, and correct tokens per token."""
    nats, correct = np.array([6.0, 9.0, 2.0]), np.array([1.0, 2.0, 3.0])
    tokens, text_bytes = np.array([4, 5, 3]), np.array([13, 17, 8])
    token_nats = np.repeat(np.float32([1.25, 1.75]), [8, 4])
    score = Score(token_nats, np.arange(12) < 6, np.full(12, 0.875, np.float32), np.zeros(1))
    metrics = summarize(score, StoryScores(nats, tokens, text_bytes, correct), np.repeat(np.int8([0, 2]), [8, 4]))
    assert metrics == {
        "loss": 17 / 12,
        "perplexity": math.exp(17 / 12),
        "bits_per_byte": 17 / math.log(2) / 38,
        "accuracy": 0.5,
        "range95": {
            "loss": asdict(ratio_interval(nats, tokens)),
            "bits_per_byte": asdict(ratio_interval(nats / math.log(2), text_bytes)),
            "accuracy": asdict(ratio_interval(correct, tokens)),
        },
        "reliability": {"calibration_error": 0.375},
        "split": {"stories": 3, "tokens": 12, "text_bytes": 38},
        "token_kinds": {
            KINDS[0]: {"tokens": 8, "loss": 1.25, "accuracy": 0.75},
            KINDS[2]: {"tokens": 4, "loss": 1.75, "accuracy": 0.0},
        },
    }


def test_tables_have_seven_digits_and_empty_cells(tmp_path: Path) -> None:
    atomic.write_csv(tmp_path / "t.csv", [{"a": 1, "b": 1 / 3}, {"a": None, "b": 2.0}])
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,0.3333333\n,2\n"
