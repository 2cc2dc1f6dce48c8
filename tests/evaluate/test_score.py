"""Every token of the split is scored once, with as much context as its window has."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tiny
from tinylm.evaluate.score import Score, score_split
from tinylm.scoring.windows import plan_windows, read_windows
from tinylm.tokens.description import SplitInfo
from tinylm.tokens.store import TokenSplit, TokenStore

END = 0


def make_split(ids: list[int], text_bytes: int = 1000, lossless: bool = True) -> TokenSplit:
    info = SplitInfo(len(ids), 1, text_bytes, "", "", "", lossless=lossless)
    offsets, text_offsets = np.array([0, len(ids)], "<u8"), np.array([0, text_bytes], "<u8")
    return TokenSplit("val", np.array(ids, "<u2"), offsets, text_offsets, info)


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_every_token_is_scored_once(tokens: int, context: int, stride: int) -> None:
    length = min(context, tokens)
    starts, fresh = plan_windows(tokens, length, min(stride, length))
    scored = [start + offset for start, first in zip(starts, fresh, strict=True) for offset in range(first, length)]
    assert scored == list(range(tokens))
    assert all(first >= length - stride for first in fresh[1:])


def test_inputs_are_the_tokens_before_the_targets() -> None:
    ids, targets = read_windows(np.array([5, 6, 7, 8], "<u2"), np.array([0, 2]), 2, END)
    assert ids.tolist() == [[END, 5], [6, 7]]
    assert targets.tolist() == [[5, 6], [7, 8]]


@torch.no_grad()
@pytest.mark.parametrize(("tokens", "stride"), [(10, 64), (64, 64), (200, 64), (200, 16), (201, 1), (1, 5)])
def test_the_score_equals_scoring_token_by_token(tokens: int, stride: int) -> None:
    model = tiny.make_model(60, spread=0.2)
    ids = torch.randint(60, (tokens,), generator=torch.Generator().manual_seed(2)).tolist()
    score = score_split(model, make_split(ids), END, stride, batch=3, bar=False)
    stream, expected = [END, *ids], 0.0
    starts, fresh = plan_windows(tokens, min(64, tokens), min(stride, 64, tokens))
    for start, first in zip(starts, fresh, strict=True):
        for offset in range(first, min(64, tokens)):
            context = torch.tensor([stream[start : start + offset + 1]])
            expected -= float(model(context)[0, -1].log_softmax(-1)[ids[start + offset]])
    assert score.total_nats == pytest.approx(expected, rel=1e-5)
    assert len(score.nats) == tokens


def test_loss_perplexity_and_accuracy() -> None:
    nats, right = np.full(100, 2 * math.log(2), np.float32), np.arange(100) % 4 == 0
    score = Score(nats, right, nats, np.zeros(1))
    assert score.loss == pytest.approx(2 * math.log(2))
    assert score.perplexity == pytest.approx(4)
    assert score.accuracy == 0.25


def test_the_total_is_summed_in_float64() -> None:
    nats = np.float32([2**24, 1, 1])  # in float32, 2^24 + 1 is 2^24
    assert Score(nats, nats > 1, nats, np.zeros(1)).total_nats == 2**24 + 2


@pytest.mark.parametrize(("bar", "disable"), [(True, None), (False, True)])  # None: shown on a terminal
def test_the_progress_bar_is_optional(monkeypatch: pytest.MonkeyPatch, bar: bool, disable: bool | None) -> None:
    asked = []
    monkeypatch.setattr("tinylm.evaluate.score.tqdm", lambda batches, **options: asked.append(options) or batches)
    score_split(tiny.make_model(60), make_split([1, 2, 3]), END, 64, batch=3, bar=bar)
    assert asked == [{"unit": "batch", "disable": disable}]


@torch.no_grad()
def test_accuracy_confidence_and_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinylm.evaluate.score.ROWS_AT_ONCE", 50)
    model = tiny.make_model(60, spread=0.2)
    ids = torch.randint(60, (128,), generator=torch.Generator().manual_seed(2))
    score = score_split(model, make_split(ids.tolist(), 500), END, 64, batch=1, bar=False)
    inputs = torch.cat([torch.tensor([END]), ids[:-1]]).view(2, 64)
    shares = model(inputs).softmax(-1)
    assert np.allclose(score.confidence, shares.amax(-1).flatten(), atol=1e-5)
    assert score.correct.tolist() == (shares.argmax(-1).flatten() == ids).tolist()
    nats = -shares.log().gather(-1, ids.view(2, 64, 1))[..., 0]
    assert np.allclose(score.position_nats, nats.mean(0), atol=1e-4)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(tiny_tokens: TokenStore, tiny_store: Path) -> None:
    model = tiny.make_model(300)
    with torch.no_grad():
        model.norm.weight.zero_()
    score = score_split(model, tiny_tokens.val, tiny_tokens.end_of_text, 32, batch=8, bar=False)
    assert score.perplexity == pytest.approx(300, rel=1e-4)
    assert len(score.nats) == tiny_tokens.val.info.tokens
