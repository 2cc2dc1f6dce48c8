"""Whether one model is better than another: differences in bits per byte, with intervals.

Both are scored on the same validation stories, so their losses are compared story by story: what
makes a story hard for one makes it hard for the other and cancels out.

Two things are drawn by chance, the stories and the seeds. With one run of each model the interval
knows of the stories alone: stories are drawn again (bootstrap, Efron 1979). With several runs, each
story's loss is the mean over the runs, and two variances are added: that of the mean over stories
(of a ratio, by linearization; Cochran 1977, ch. 6) and that of the mean over runs. Few seeds say
little about their own spread, so the interval is Student's, with degrees of freedom after
Satterthwaite (1946). Seeds drawn again by bootstrap would give intervals much too narrow: of three
seeds it knows two thirds of the variance. Runs are not paired by seed, since the same seed with
other settings is another run. What a run's own stories add to the spread between runs is counted
twice, which errs on the wide side (Owen 2007 has the same of the bootstrap of two factors).
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
    a: Estimate
    b: Estimate
    difference: Estimate  # B - A: below zero where B is better
    better_stories: float  # share of the stories on which B is better

    @property
    def verdict(self) -> str:
        d = self.difference
        low, high = d.interval.low, d.interval.high
        if not (d.value or low or high):
            return "no difference can be told: A and B score every story alike"
        if d.below_zero:
            return f"B is better by {-d.value:.4f} bits per byte (95%: {-high:.4f} to {-low:.4f})"
        if d.above_zero:
            return f"A is better by {d.value:.4f} bits per byte (95%: {low:.4f} to {high:.4f})"
        return f"no difference can be told (B - A: {d.value:+.4f} bits per byte, 95%: {low:+.4f} to {high:+.4f})"


def compare(a: Sequence[Floats], b: Sequence[Floats], text_bytes: Floats) -> Comparison:
    """Runs of A and runs of B: for each the nats of every validation story, of `text_bytes` each."""
    mean_a, mean_b = np.mean(a, axis=0), np.mean(b, axis=0)
    scores_a, scores_b = (np.array([_bits_per_byte(run, text_bytes) for run in runs]) for runs in (a, b))
    return Comparison(
        _estimate(mean_a, text_bytes, [scores_a]),
        _estimate(mean_b, text_bytes, [scores_b]),
        _estimate(mean_b - mean_a, text_bytes, [scores_a, scores_b]),
        float(np.mean(mean_b < mean_a)),
    )


def mean_over_seeds(scores: Sequence[float]) -> Estimate:
    """The mean of what runs with different seeds scored, and where that of ever more seeds would lie."""
    values = np.asarray(scores, np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) * t_quantile(len(values) - 1)
    mean = float(values.mean())
    return Estimate(mean, Interval(mean - error, mean + error))


def _bits_per_byte(nats: Floats, text_bytes: Floats) -> float:
    return to_bits(float(nats.sum())) / float(text_bytes.sum())


def _estimate(nats: Floats, text_bytes: Floats, groups: Sequence[Floats]) -> Estimate:
    """Of a mean over runs, or of a difference of two; `groups` holds the scores of the runs of each model."""
    value = _bits_per_byte(nats, text_bytes)
    of_seeds = _seed_variances(groups)
    if not of_seeds:
        return Estimate(value, ratio_interval(to_bits(nats), text_bytes))
    terms = [(_story_variance(nats, text_bytes), len(nats) - 1), *of_seeds]
    total = sum(variance for variance, _ in terms)
    if not total:
        return Estimate(value, Interval(value, value))
    dof = total**2 / sum(variance**2 / free for variance, free in terms if free)
    error = math.sqrt(total) * t_quantile(dof)
    return Estimate(value, Interval(value - error, value + error))


def _seed_variances(groups: Sequence[Floats]) -> list[tuple[float, int]]:
    """Of the means over runs, with degrees of freedom; a single run is taken to vary as those of the other model."""
    several = [scores for scores in groups if len(scores) > 1]
    if len(several) == len(groups):
        return [(float(scores.var(ddof=1)) / len(scores), len(scores) - 1) for scores in groups]
    share = sum(1 / len(scores) for scores in groups)
    return [(float(scores.var(ddof=1)) * share, len(scores) - 1) for scores in several]


def _story_variance(nats: Floats, text_bytes: Floats) -> float:
    """Of the ratio sum(bits) / sum(bytes) over stories drawn at random."""
    bits, count = to_bits(nats), len(nats)
    if count < 2:
        return 0.0
    residuals = bits - bits.sum() / text_bytes.sum() * text_bytes
    return float(count / (count - 1) * (residuals**2).sum() / text_bytes.sum() ** 2)


def t_quantile(dof: float) -> float:
    """How many standard errors to each side hold LEVEL of Student's t distribution.

    With t = sqrt(dof) tan(angle) the density is cos(angle) ** (dof - 1), which is summed up numerically.
    """
    dof = min(dof, 1e4)  # from where the normal distribution is as good
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (dof - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(dof) * math.tan(float(np.interp(LEVEL * below[-1], below, angles)))
