"""Validation during training: a sample of whole stories, scored as stage evaluate scores all of them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support import tiny
from tinylm.compute.distributed import World
from tinylm.evaluate.outputs import score_stories
from tinylm.evaluate.score import score_split
from tinylm.model import transformer
from tinylm.scoring.bootstrap import ratio_interval
from tinylm.scoring.story_losses import StoryLosses
from tinylm.scoring.windows import default_stride
from tinylm.tokens.store import TokenSplit, TokenStore
from tinylm.train import validation
from tinylm.train.validation import RUN, StorySample, choose_stories


@given(st.integers(1, 3000), st.integers(1, 3000) | st.none())
def test_as_many_stories_as_asked_for_in_runs_spread_over_the_split(stories: int, most: int | None) -> None:
    chosen = choose_stories(stories, most)
    assert len(chosen) == min(stories, most or stories)
    assert chosen[0] == 0
    assert chosen[-1] < stories
    steps = np.diff(chosen)
    assert (steps >= 1).all()
    assert (steps > 1).sum() <= math.ceil(len(chosen) / RUN) - 1  # neighbours, but for the ends of runs
    runs = math.ceil(len(chosen) / RUN)
    gaps = np.diff([*chosen[::RUN], RUN * math.ceil(stories / RUN)])
    assert len(gaps) == runs
    assert gaps.max() - gaps.min() <= RUN


@pytest.mark.parametrize("most", [1, 9, 20, None])
@pytest.mark.parametrize("context", [64, 512])
def test_each_story_has_the_loss_that_evaluate_gives_it(
    tiny_tokens: TokenStore, most: int | None, context: int
) -> None:
    """Every token has the same context before it, which other windows would not give."""
    model = tiny.make_model(300, spread=0.1, context=context)
    end = tiny_tokens.end_of_text
    sample = StorySample(tiny_tokens.val, end, context, most)
    whole = score_split(model, tiny_tokens.val, end, default_stride(context), batch=8, bar=False)
    expected = score_stories(whole, tiny_tokens.val)
    found = sample.score(model, 3, World())
    assert len(found.nats) == min(most or 32, 32)
    assert found.nats == pytest.approx(expected.nats[sample.stories], rel=1e-5)
    assert found.tokens.tolist() == expected.tokens[sample.stories].tolist()
    assert expected.text_bytes is not None
    assert found.text_bytes is not None
    assert found.text_bytes.tolist() == expected.text_bytes[sample.stories].tolist()
    if most is None:
        assert found.loss == pytest.approx(whole.loss, rel=1e-6)
        assert found.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)


def test_a_split_shorter_than_the_context(tiny_tokens: TokenStore) -> None:
    ends = int(tiny_tokens.val.offsets[1])
    info = replace(tiny_tokens.val.info, tokens=ends, stories=1)
    val = tiny_tokens.val
    one = TokenSplit("val", val.tokens[:ends], val.offsets[:2], val.text_offsets[:2], info)
    model = tiny.make_model(300, spread=0.1, context=512)
    found = StorySample(one, tiny_tokens.end_of_text, 512, None).score(model, 8, World())
    ids = torch.tensor([tiny_tokens.end_of_text, *one.tokens.tolist()])
    with torch.no_grad():
        expected = -model(ids[None, :-1])[0].log_softmax(-1).gather(1, ids[1:, None]).sum()
    assert found.nats == pytest.approx([float(expected)], rel=1e-5)


def test_only_the_windows_of_the_stories_are_read(tiny_tokens: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a validation is proportional to its stories, apart from the windows at their ends."""
    rows: list[int] = []
    windows: list[int] = []
    losses, read = transformer.linear_cross_entropies, validation.read_windows

    def counting_losses(x: Tensor, *rest: Tensor) -> Tensor:
        rows.append(len(x))
        return losses(x, *rest)

    def counting_read(ids: Any, starts: Any, *rest: Any) -> Any:
        windows.extend(starts)
        return read(ids, starts, *rest)

    monkeypatch.setattr(transformer, "linear_cross_entropies", counting_losses)
    monkeypatch.setattr(validation, "read_windows", counting_read)
    sample = StorySample(tiny_tokens.val, tiny_tokens.end_of_text, 64, 8)
    sample.score(tiny.make_model(300), 4, World())
    assert sum(rows) == sample.tokens.sum()
    assert len(windows) == len(set(windows)) <= sample.tokens.sum() / 32 + 2


def test_processes_share_the_windows(tiny_tokens: TokenStore) -> None:
    """Each adds its part to the sum, no window is scored twice, and all get the total."""
    model = tiny.make_model(300, spread=0.1)
    sample = StorySample(tiny_tokens.val, tiny_tokens.end_of_text, 64, 20)
    parts: list[Tensor] = []

    class Recording(World):
        def sum(self, values: Tensor) -> Tensor:
            parts.append(values.clone())
            return values

    for rank in range(3):
        sample.score(model, 4, Recording(rank, 3))
    assert torch.stack(parts).sum(0).tolist() == pytest.approx(sample.score(model, 4, World()).nats.tolist(), rel=1e-5)
    assert all(part.sum() > 0 for part in parts)
    assert parts[0].dtype == torch.float64


def test_averages_are_over_all_tokens_and_bytes_together() -> None:
    nats, tokens, text_bytes = np.array([6.0, 1.0]), np.array([4, 10]), np.array([13, 50])
    found = StoryLosses(nats, tokens, text_bytes)
    assert found.loss == 0.5
    assert found.bits_per_byte == pytest.approx(7 / math.log(2) / 63)
    assert found.loss_interval() == ratio_interval(nats, tokens)
    assert found.bits_per_byte_interval() == ratio_interval(nats / math.log(2), text_bytes)


def test_lossy_ids_have_no_bits_per_byte(tiny_tokens: TokenStore) -> None:
    lossy = replace(tiny_tokens.val, info=replace(tiny_tokens.val.info, lossless=False))
    found = StorySample(lossy, tiny_tokens.end_of_text, 64, 8).score(tiny.make_model(300), 4, World())
    assert found.bits_per_byte is found.bits_per_byte_interval() is None
    assert found.loss > 0
