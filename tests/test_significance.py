"""Intervals hold what they say: a difference that is there is found, and none where there is none."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tinylm.bootstrap import Interval
from tinylm.significance import compare, mean_over_seeds, student

STORIES = 150
BYTES = np.random.default_rng(0).integers(200, 1200, STORIES).astype(np.float64)

Floats = NDArray[np.float64]


def runs(draw: np.random.Generator, stories: Floats, count: int, bits: float, seed_noise: float) -> list[Floats]:
    """Nats per story of models of `bits` per byte: stories are harder or easier for all, seeds better or worse."""
    made = []
    for _ in range(count):
        rate = bits + stories + draw.normal(0, seed_noise) + draw.normal(0, 0.02, STORIES)
        made.append(rate * BYTES * math.log(2))
    return made


def hard_and_easy(draw: np.random.Generator) -> Floats:
    return draw.normal(0, 0.2, STORIES)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (4.5, 2.6585), (30, 2.04227), (1e9, 1.95996)]
)
def test_student(freedom: float, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=1e-3)


def test_a_small_difference_is_found_by_pairing() -> None:
    draw = np.random.default_rng(1)
    stories = hard_and_easy(draw)
    result = compare(runs(draw, stories, 1, 1.0, 0), runs(draw, stories, 1, 0.98, 0), BYTES)
    assert result.a.interval.low < result.b.value < result.a.interval.high  # unpaired, it could not be told
    assert result.difference.value == pytest.approx(-0.02, abs=0.006)
    assert result.verdict.startswith("B is better by 0.0")
    turned = compare(runs(draw, stories, 1, 0.98, 0), runs(draw, stories, 1, 1.0, 0), BYTES)
    assert turned.verdict.startswith("A is better by 0.0")


def test_the_verdict_gives_the_gain_and_its_interval() -> None:
    bits = np.full(STORIES, 1.0) * BYTES * math.log(2)
    result = compare([bits], [bits * 0.9], BYTES)
    assert result.verdict == "B is better by 0.1000 bits per byte (95%: 0.1000 to 0.1000)"
    assert result.better_stories == 1.0


def test_a_model_is_not_better_than_itself() -> None:
    run = runs(np.random.default_rng(2), hard_and_easy(np.random.default_rng(3)), 1, 1.0, 0)
    assert compare(run, run, BYTES).verdict == "no difference can be told: A and B score every story alike"


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(2, 2), (3, 3), (3, 5), (1, 4)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(seeds_a: int, seeds_b: int) -> None:
    """Also with few seeds, whose noise is the larger part here; a bootstrap over three seeds covers about 80%."""
    draw, covered, noise = np.random.default_rng(4), [], 0.01
    for _ in range(120):
        stories = hard_and_easy(draw)
        a, b = runs(draw, stories, seeds_a, 1.0, noise), runs(draw, stories, seeds_b, 0.99, noise)
        interval = compare(a, b, BYTES).difference.interval
        covered.append(interval.low < -0.01 < interval.high)
    assert 0.90 <= np.mean(covered) <= 1.0


def test_equal_models_are_seldom_called_different_and_seeds_are_why() -> None:
    """One run each knows nothing of the seeds: then equal settings are called different far too often."""
    draw, called = np.random.default_rng(5), {1: 0, 4: 0}
    for _ in range(50):
        stories = hard_and_easy(draw)
        for seeds in called:
            a, b = (runs(draw, stories, seeds, 1.0, 0.01) for _ in "ab")
            called[seeds] += not compare(a, b, BYTES).verdict.startswith("no difference")
    assert called[4] <= 5
    assert called[1] >= 20


def test_a_true_difference_between_settings_is_found() -> None:
    draw = np.random.default_rng(6)
    stories = hard_and_easy(draw)
    result = compare(runs(draw, stories, 5, 1.0, 0.01), runs(draw, stories, 5, 0.95, 0.01), BYTES)
    assert result.difference.below_zero


def test_the_mean_over_seeds() -> None:
    estimate = mean_over_seeds([1.0, 2.0, 3.0])
    error = 4.30265 / 3**0.5
    assert estimate.value == 2.0
    assert estimate.interval == Interval(pytest.approx(2 - error, rel=1e-3), pytest.approx(2 + error, rel=1e-3))
