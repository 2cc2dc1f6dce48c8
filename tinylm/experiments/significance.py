"""Test whether one model is better than another: differences in bits per byte, with 95% intervals.

Both models are scored on the same validation stories and compared story by story: a story that is
hard for one model is hard for the other, and the difficulty cancels out.

Two factors are random, the stories and the seeds. With one run per model the interval covers only the
stories, which are resampled (bootstrap, Efron 1979). With several runs, each story's loss is the mean
over the runs, and two variances are added: that of the mean over stories (a ratio estimate, by
linearization; Cochran 1977, ch. 6) and that of the mean over runs. A few seeds estimate their own
variance poorly, so the interval uses Student's t distribution, with the degrees of freedom of
Satterthwaite (1946). Resampling the seeds would give intervals that are much too narrow: with three
seeds the bootstrap sees two thirds of the variance. Runs are not paired by seed, because the same
seed with other settings is a different run. The noise of the stories within a run also contributes to
the variance between runs, so it is counted twice and the intervals are slightly too wide (Owen 2007
shows the same for the two-factor bootstrap).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinylm.scoring.bits_per_byte import to_bits
from tinylm.scoring.bootstrap import LEVEL, Interval, ratio_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value [bits per byte] with its 95% interval."""

    value: float
    interval: Interval

    @property
    def above_zero(self) -> bool:
        return self.interval.low > 0

    @property
    def below_zero(self) -> bool:
        return self.interval.high < 0


@dataclass(frozen=True)
class Comparison:
    """The scores of two models A and B, and their difference."""

    a: Estimate
    b: Estimate
    difference: Estimate  # B - A: below zero where B is better
    better_stories: float  # fraction of the stories on which B is better

    @property
    def verdict(self) -> str:
        """The result in one line: which model is better and by how much, or that there is no significant difference."""
        d = self.difference
        low, high = d.interval.low, d.interval.high
        if not (d.value or low or high):
            return "no difference: A and B have the same loss on every story"
        if d.below_zero:
            return f"B is better by {-d.value:.4f} bits per byte (95%: {-high:.4f} to {-low:.4f})"
        if d.above_zero:
            return f"A is better by {d.value:.4f} bits per byte (95%: {low:.4f} to {high:.4f})"
        return f"no significant difference (B - A: {d.value:+.4f} bits per byte, 95%: {low:+.4f} to {high:+.4f})"


def compare(a: Sequence[Floats], b: Sequence[Floats], text_bytes: Floats) -> Comparison:
    """Compare the runs of A with the runs of B.

    Each run is an array (stories,) of the summed loss of each validation story [nats]; `text_bytes` (stories,) holds
    the lengths of the stories [bytes].
    """
    mean_a, mean_b = np.mean(a, axis=0), np.mean(b, axis=0)
    scores_a, scores_b = (np.array([_bits_per_byte(run, text_bytes) for run in runs]) for runs in (a, b))
    return Comparison(
        _estimate(mean_a, text_bytes, [scores_a]),
        _estimate(mean_b, text_bytes, [scores_b]),
        _estimate(mean_b - mean_a, text_bytes, [scores_a, scores_b]),
        float(np.mean(mean_b < mean_a)),
    )


def mean_over_seeds(scores: Sequence[float]) -> Estimate:
    """Return the mean score of runs with different seeds, with Student's t interval for the mean over all seeds."""
    values = np.asarray(scores, np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) * t_quantile(len(values) - 1)
    mean = float(values.mean())
    return Estimate(mean, Interval(mean - error, mean + error))


def _bits_per_byte(nats: Floats, text_bytes: Floats) -> float:
    return to_bits(float(nats.sum())) / float(text_bytes.sum())


def _estimate(nats: Floats, text_bytes: Floats, groups: Sequence[Floats]) -> Estimate:
    """Estimate a mean over runs, or a difference of two; `groups` holds the scores of each model's runs."""
    value = _bits_per_byte(nats, text_bytes)
    seed_terms = _seed_variances(groups)
    if not seed_terms:
        return Estimate(value, ratio_interval(to_bits(nats), text_bytes))
    terms = [(_story_variance(nats, text_bytes), len(nats) - 1), *seed_terms]
    total = sum(variance for variance, _ in terms)
    if not total:
        return Estimate(value, Interval(value, value))
    dof = total**2 / sum(variance**2 / free for variance, free in terms if free)
    error = math.sqrt(total) * t_quantile(dof)
    return Estimate(value, Interval(value - error, value + error))


def _seed_variances(groups: Sequence[Floats]) -> list[tuple[float, int]]:
    """Return the variance of each mean over runs, with its degrees of freedom.

    A single run is assumed to have the variance of the other model's runs.
    """
    several = [scores for scores in groups if len(scores) > 1]
    if len(several) == len(groups):
        return [(float(scores.var(ddof=1)) / len(scores), len(scores) - 1) for scores in groups]
    share = sum(1 / len(scores) for scores in groups)
    return [(float(scores.var(ddof=1)) * share, len(scores) - 1) for scores in several]


def _story_variance(nats: Floats, text_bytes: Floats) -> float:
    """Return the variance of the ratio sum(bits) / sum(bytes) over randomly drawn stories (Cochran 1977, ch. 6)."""
    bits, count = to_bits(nats), len(nats)
    if count < 2:
        return 0.0
    residuals = bits - bits.sum() / text_bytes.sum() * text_bytes
    return float(count / (count - 1) * (residuals**2).sum() / text_bytes.sum() ** 2)


def t_quantile(dof: float) -> float:
    """Return the half-width, in standard errors, of the central interval that holds LEVEL of Student's t distribution.

    With t = sqrt(dof) tan(angle) the density is cos(angle) ** (dof - 1), which is integrated numerically.
    """
    dof = min(dof, 1e4)  # beyond that, the t distribution is practically normal
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (dof - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(dof) * math.tan(float(np.interp(LEVEL * below[-1], below, angles)))
