"""Bootstrap confidence intervals over stories."""

import numpy as np
import pytest

from tinylm.scoring.bootstrap import ratio, ratio_interval


def test_ratio_sums_in_float64() -> None:
    """In float32, 2^24 + 1 rounds to 2^24."""
    odd, even = np.array([2**24, 1], np.float32), np.array([2**24, 0], np.float32)
    assert ratio(odd, even) == (2**24 + 1) / 2**24
    assert ratio(even, odd) == 2**24 / (2**24 + 1)


def test_the_interval_contains_the_mean_and_shrinks_with_more_stories() -> None:
    draw = np.random.default_rng(1)
    few, many = draw.normal(3, 1, 50), draw.normal(3, 1, 5000)
    narrow, wide = ratio_interval(many, np.ones(5000)), ratio_interval(few, np.ones(50))
    assert wide.low < few.mean() < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 / 5000**0.5, rel=0.1)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 / 50**0.5, rel=0.3)


def test_coverage_is_about_95_percent() -> None:
    draw = np.random.default_rng(2)
    intervals = [ratio_interval(draw.normal(0, 1, 100), np.ones(100), seed=n) for n in range(100)]
    assert 0.89 <= np.mean([interval.low < 0 < interval.high for interval in intervals]) <= 0.99


def test_the_interval_leaves_two_and_a_half_percent_on_each_side() -> None:
    """With 2,000 stories, half of them correct: the quantiles of Binomial(2000, 1/2) are 956 and 1044."""
    interval = ratio_interval(np.arange(2000) % 2, np.ones(2000))
    assert interval.low * 2000 == pytest.approx(956, abs=2)
    assert interval.high * 2000 == pytest.approx(1044, abs=2)


def test_resampling_sums_in_float64() -> None:
    draw = np.random.default_rng(3)
    parts, sizes = draw.normal(1e6, 1, 50).astype(np.float32), draw.normal(3e5, 1, 50).astype(np.float32)
    assert ratio_interval(parts, sizes) == ratio_interval(parts.astype(np.float64), sizes.astype(np.float64))


def test_the_estimate_is_inside_its_interval() -> None:
    """Even if all stories are alike and resamples differ only by rounding."""
    sizes = np.array([33.0, 44.0, 10.0, 38.0, 47.0])
    parts = 0.38 * sizes
    interval = ratio_interval(parts, sizes)
    assert interval.low <= ratio(parts, sizes) <= interval.high


def test_stories_are_weighted_by_size() -> None:
    interval = ratio_interval([1.0, 300.0], [1.0, 100.0])
    assert (interval.low, interval.high) == (1.0, 3.0)


def test_the_interval_is_deterministic() -> None:
    values = np.arange(30.0)
    assert ratio_interval(values, np.ones(30)) == ratio_interval(values, np.ones(30))
    assert ratio_interval(values, np.ones(30)) != ratio_interval(values, np.ones(30), seed=1)
