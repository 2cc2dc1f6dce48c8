"""Intervals have their nominal coverage: true differences are found, and no others."""

import math
import statistics

import numpy as np
import pytest
from numpy.typing import NDArray

from tinylm.experiments.significance import Comparison, Estimate, compare, mean_over_seeds, t_quantile
from tinylm.scoring.bootstrap import Interval, ratio_interval

STORIES = 150
BYTES = np.random.default_rng(0).integers(200, 1200, STORIES).astype(np.float64)

Floats = NDArray[np.float64]


def runs(draw: np.random.Generator, stories: Floats, count: int, bits: float, seed_noise: float) -> list[Floats]:
    """Return the nats per story of runs of a model with `bits` per byte; `stories` is their common difficulty."""
    made = []
    for _ in range(count):
        rate = bits + stories + draw.normal(0, seed_noise) + draw.normal(0, 0.02, STORIES)
        made.append(rate * BYTES * math.log(2))
    return made


def story_difficulty(draw: np.random.Generator) -> Floats:
    return draw.normal(0, 0.2, STORIES)


@pytest.mark.parametrize(
    ("dof", "quantile"), [(1, 12.7062), (2, 4.30265), (4.5, 2.6585), (30, 2.04227), (1e9, 1.95996)]
)
def test_t_quantile(dof: float, quantile: float) -> None:
    assert t_quantile(dof) == pytest.approx(quantile, rel=1e-3)


def test_t_quantile_has_closed_forms() -> None:
    assert t_quantile(1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-9)
    assert t_quantile(2) == pytest.approx(math.sqrt(2 * 0.95**2 / (1 - 0.95**2)), rel=1e-7)


RUNS_A = [[210.0, 340.0, 95.0, 480.0], [220.0, 335.0, 99.0, 470.0]]  # nats of four stories
RUNS_B = [[200.0, 340.0, 90.0, 460.0], [205.0, 345.0, 92.0, 481.0], [199.0, 330.0, 96.0, 455.0]]
FOUR_BYTES = [300.0, 420.0, 130.0, 610.0]


def expected_interval(groups: list[list[list[float]]], text_bytes: list[float]) -> tuple[float, float]:
    """Return the bits per byte of the last group of runs, minus those of the first of two, and the half-width."""
    stories, total_bytes = range(len(text_bytes)), sum(text_bytes)
    means = [[statistics.fmean(run[story] for run in group) / math.log(2) for story in stories] for group in groups]
    bits = [means[-1][story] - (means[0][story] if len(means) == 2 else 0) for story in stories]
    value = sum(bits) / total_bytes
    terms = []  # (variance, degrees of freedom)
    if len(text_bytes) > 1:
        squares = sum((bits[story] - value * text_bytes[story]) ** 2 for story in stories)
        dof = len(text_bytes) - 1
        terms.append((len(text_bytes) / dof * squares / total_bytes**2, dof))
    shares = [1 / len(group) for group in groups]
    for group, share in zip(groups, shares, strict=True):
        if len(group) > 1:
            spread = statistics.variance(sum(run) / math.log(2) / total_bytes for run in group)
            terms.append((spread * (sum(shares) if 1.0 in shares else share), len(group) - 1))
    total = sum(variance for variance, _ in terms)
    return value, total**0.5 * t_quantile(total**2 / sum(variance**2 / free for variance, free in terms))


@pytest.mark.parametrize("stories", [4, 2, 1])
@pytest.mark.parametrize("seeds_a", [2, 1])
def test_intervals_of_several_seeds_match_a_plain_computation(seeds_a: int, stories: int) -> None:
    """Cochran's variance of a ratio, the variance of a mean of runs, and Satterthwaite's degrees of freedom."""
    a, b = ([run[:stories] for run in runs] for runs in (RUNS_A[:seeds_a], RUNS_B))
    text_bytes = FOUR_BYTES[:stories]
    result = compare([np.array(run) for run in a], [np.array(run) for run in b], np.array(text_bytes))
    for estimate, groups in ((result.difference, [a, b]), (result.b, [b])):
        value, half = expected_interval(groups, text_bytes)
        assert estimate.value == pytest.approx(value, rel=1e-9)
        assert estimate.interval.low == pytest.approx(value - half, rel=1e-9)
        assert estimate.interval.high == pytest.approx(value + half, rel=1e-9)


def test_the_interval_of_one_run_each_is_a_bootstrap_over_stories() -> None:
    a, b, text_bytes = (np.array(values) for values in (RUNS_A[0], RUNS_B[0], FOUR_BYTES))
    result = compare([a], [b], text_bytes)
    assert result.difference.interval == ratio_interval((b - a) / math.log(2), text_bytes)
    assert result.a.interval == ratio_interval(a / math.log(2), text_bytes)
    assert result.better_stories == 0.75  # the second story is as good with both


def test_identical_runs_on_one_story_give_an_interval_of_zero_width() -> None:
    result = compare([np.array([4.0])] * 2, [np.array([8.0])] * 3, np.array([10.0]))
    bits = 0.4 / math.log(2)
    assert (result.a.value, result.b.value) == (pytest.approx(bits), pytest.approx(2 * bits))
    for estimate in (result.a, result.b, result.difference):
        assert estimate.interval == Interval(estimate.value, estimate.value)


def test_a_small_difference_is_found_by_pairing() -> None:
    draw = np.random.default_rng(1)
    stories = story_difficulty(draw)
    result = compare(runs(draw, stories, 1, 1.0, 0), runs(draw, stories, 1, 0.98, 0), BYTES)
    assert result.a.interval.low < result.b.value < result.a.interval.high  # unpaired, it would not be significant
    assert result.difference.value == pytest.approx(-0.02, abs=0.006)
    assert result.verdict.startswith("B is better by 0.0")
    turned = compare(runs(draw, stories, 1, 0.98, 0), runs(draw, stories, 1, 1.0, 0), BYTES)
    assert turned.verdict.startswith("A is better by 0.0")


def test_the_verdict_gives_the_gain_and_its_interval() -> None:
    bits = np.full(STORIES, 1.0) * BYTES * math.log(2)
    result = compare([bits], [bits * 0.9], BYTES)
    assert result.verdict == "B is better by 0.1000 bits per byte (95%: 0.1000 to 0.1000)"
    assert result.better_stories == 1.0


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.2, 0.0, "no significant difference (B - A: +0.0000 bits per byte, 95%: -0.2000 to +0.0000)"),
        (0.0, 0.2, "no significant difference (B - A: +0.0000 bits per byte, 95%: +0.0000 to +0.2000)"),
        (0.0, 0.0, "no difference: A and B have the same loss on every story"),
    ],
)
def test_an_interval_that_ends_at_zero_is_not_significant(low: float, high: float, verdict: str) -> None:
    estimate = Estimate(0.0, Interval(low, high))
    assert (estimate.above_zero, estimate.below_zero) == (False, False)
    assert Comparison(estimate, estimate, estimate, 0.5).verdict == verdict


def test_a_model_is_not_better_than_itself() -> None:
    run = runs(np.random.default_rng(2), story_difficulty(np.random.default_rng(3)), 1, 1.0, 0)
    assert compare(run, run, BYTES).verdict == "no difference: A and B have the same loss on every story"


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(2, 2), (3, 3), (3, 5), (1, 4)])
def test_intervals_have_about_their_nominal_coverage(seeds_a: int, seeds_b: int) -> None:
    """Also with few seeds, whose noise dominates here; a bootstrap over three seeds covers about 80%."""
    draw, covered, noise = np.random.default_rng(4), [], 0.01
    for _ in range(120):
        stories = story_difficulty(draw)
        a, b = runs(draw, stories, seeds_a, 1.0, noise), runs(draw, stories, seeds_b, 0.99, noise)
        interval = compare(a, b, BYTES).difference.interval
        covered.append(interval.low < -0.01 < interval.high)
    assert 0.90 <= np.mean(covered) <= 1.0


def test_equal_settings_are_rarely_called_different_with_several_seeds() -> None:
    """With one run each, the noise of the seeds is ignored, and equal settings are called different far too often."""
    draw, called = np.random.default_rng(5), {1: 0, 4: 0}
    for _ in range(50):
        stories = story_difficulty(draw)
        for seeds in called:
            a, b = (runs(draw, stories, seeds, 1.0, 0.01) for _ in "ab")
            called[seeds] += not compare(a, b, BYTES).verdict.startswith("no ")
    assert called[4] <= 5
    assert called[1] >= 20


def test_a_true_difference_between_settings_is_found() -> None:
    draw = np.random.default_rng(6)
    stories = story_difficulty(draw)
    result = compare(runs(draw, stories, 5, 1.0, 0.01), runs(draw, stories, 5, 0.95, 0.01), BYTES)
    assert result.difference.below_zero


def test_the_mean_over_seeds() -> None:
    estimate = mean_over_seeds([1.0, 2.0, 3.0])
    error = 4.30265 / 3**0.5
    assert estimate.value == 2.0
    assert estimate.interval == Interval(pytest.approx(2 - error, rel=1e-3), pytest.approx(2 + error, rel=1e-3))
