"""Intervals over stories."""

import numpy as np
import pytest

from tinylm.scoring.bootstrap import ratio, ratio_interval


def test_sums_of_a_ratio_are_in_float64() -> None:
    """In float32, 2^24 + 1 is 2^24."""
    odd, even = np.array([2**24, 1], np.float32), np.array([2**24, 0], np.float32)
    assert ratio(odd, even) == (2**24 + 1) / 2**24
    assert ratio(even, odd) == 2**24 / (2**24 + 1)


def test_the_interval_holds_the_figure_and_shrinks_with_more_stories() -> None:
    draw = np.random.default_rng(1)
    few, many = draw.normal(3, 1, 50), draw.normal(3, 1, 5000)
    narrow, wide = ratio_interval(many, np.ones(5000)), ratio_interval(few, np.ones(50))
    assert wide.low < few.mean() < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 / 5000**0.5, rel=0.1)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 / 50**0.5, rel=0.3)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    intervals = [ratio_interval(draw.normal(0, 1, 100), np.ones(100), seed=n) for n in range(100)]
    assert 0.89 <= np.mean([interval.low < 0 < interval.high for interval in intervals]) <= 0.99


def test_its_ends_leave_two_and_a_half_percent_on_each_side() -> None:
    """Of 2,000 stories, half of them right: the quantiles of Binomial(2000, 1/2) are 956 and 1044."""
    interval = ratio_interval(np.arange(2000) % 2, np.ones(2000))
    assert interval.low * 2000 == pytest.approx(956, abs=2)
    assert interval.high * 2000 == pytest.approx(1044, abs=2)


def test_sums_are_of_double_precision() -> None:
    draw = np.random.default_rng(3)
    parts, sizes = draw.normal(1e6, 1, 50).astype(np.float32), draw.normal(3e5, 1, 50).astype(np.float32)
    assert ratio_interval(parts, sizes) == ratio_interval(parts.astype(np.float64), sizes.astype(np.float64))


def test_the_figure_lies_in_its_interval() -> None:
    """Where all stories are alike too, and the resamples differ from it by rounding alone."""
    sizes = np.array([33.0, 44.0, 10.0, 38.0, 47.0])
    parts = 0.38 * sizes
    interval = ratio_interval(parts, sizes)
    assert interval.low <= ratio(parts, sizes) <= interval.high


def test_stories_count_by_their_size() -> None:
    interval = ratio_interval([1.0, 300.0], [1.0, 100.0])
    assert (interval.low, interval.high) == (1.0, 3.0)


def test_it_is_the_same_each_time() -> None:
    values = np.arange(30.0)
    assert ratio_interval(values, np.ones(30)) == ratio_interval(values, np.ones(30))
    assert ratio_interval(values, np.ones(30)) != ratio_interval(values, np.ones(30), seed=1)
