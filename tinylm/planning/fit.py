"""Fit a scaling law to runs, by approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556).

It minimizes the Huber loss of log L, with delta = 0.001, over log E, log A, log B, alpha and beta, from a grid of
starts, for each form of the law. Where they use L-BFGS, this is Levenberg and Marquardt's method with reweighted
residuals, for all starts and all resampled sets of runs at once: five unknowns and a dozen runs make small systems of
equations.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinylm.planning.law import Counts, Form, KaplanLaw, Law

Floats = NDArray[np.float64]
DELTAS = (0.1, 0.01, 0.001)  # of the Huber loss, one after the other: the last one decides
ITERATIONS = 100  # for each delta
UNKNOWNS = 5
FEWEST_RUNS, FEWEST_VALUES = 6, 3  # of sizes and of budgets: two would not determine an exponent and E
# Of the grid of starts, as in Hoffmann et al.: exponents, and the terms of E, N and D as shares of L in the middle of
# the runs.
EXPONENTS = (0.1, 0.35, 0.8)
SHARES = ((0.8, 0.1, 0.1), (0.4, 0.4, 0.2), (0.4, 0.2, 0.4))
EXPONENT_RANGE = (0.001, 3.0)
RESAMPLES = 500
LEVELS = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Point:
    """A finished run."""

    name: str
    blocks: int  # parameters without embeddings and head
    parameters: int  # all of them
    tokens: int
    bits: float  # per byte

    def counted(self, counts: Counts) -> int:
        """Return N."""
        return self.blocks if counts == "blocks" else self.parameters


@dataclass(frozen=True)
class Prediction:
    """A run that the fit did not see."""

    name: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class Fit:
    """A law and how far it can be trusted."""

    counts: Counts
    form: Form
    law: Law
    intervals: dict[str, tuple[float, float]]  # 95%, by bootstrap over the runs
    left_out: list[Prediction]  # each run predicted from the others
    held_out: Prediction  # the largest size at the largest budget, from the others

    @property
    def typical_error(self) -> float:
        """The root mean square of the errors of the predictions of each run from the others, of log L."""
        return float(np.sqrt(np.mean([math.log(p.predicted / p.measured) ** 2 for p in self.left_out])))

    @property
    def median_error(self) -> float:
        """The same without the pull of single wild runs: the median of the absolute errors."""
        return float(np.median([abs(math.log(p.predicted / p.measured)) for p in self.left_out]))


class _Problem:
    """Runs as logarithms, centred so that the unknowns depend less on each other; the law has Hoffmann's form."""

    def __init__(self, points: Sequence[Point], counts: Counts):
        n, d, bits = (np.log([[p.counted(counts), p.tokens, p.bits][column] for p in points]) for column in range(3))
        self.center = n.mean(), d.mean()
        self.n, self.d, self.bits = n - self.center[0], d - self.center[1], bits

    def starts(self) -> Floats:
        """Return the grid of starts, (starts, UNKNOWNS)."""
        level = math.exp(self.bits.mean())
        grid = itertools.product(SHARES, EXPONENTS, EXPONENTS)
        return np.array([[*(math.log(level * share) for share in shares), a, b] for shares, a, b in grid])

    def predict(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return log L (P, runs) of unknowns (P, UNKNOWNS), and its derivatives (P, runs, UNKNOWNS)."""
        e, a, b, alpha, beta = (theta[:, k, None] for k in range(UNKNOWNS))
        logs, shares = _log_sum(e, a - alpha * self.n, b - beta * self.d)
        slopes = np.stack([-shares[..., 1] * self.n, -shares[..., 2] * self.d], -1)
        return logs, np.concatenate([shares, slopes], -1)

    def law(self, theta: Floats) -> Law:
        """Return the law of unknowns (UNKNOWNS,), the centring undone."""
        e, a, b, alpha, beta = (float(value) for value in theta)
        n, d = self.center
        return Law(math.exp(e), math.exp(a + alpha * n), alpha, math.exp(b + beta * d), beta)


class _KaplanProblem(_Problem):
    """The same for Kaplan's form, whose unknowns have the same names."""

    def starts(self) -> Floats:
        level, starts = math.exp(self.bits.mean()), []
        for (e, a, b), alpha, beta in itertools.product(SHARES, EXPONENTS, EXPONENTS):
            inner = math.log(level * (a + b)) / beta  # of both terms together, in the middle of the runs
            terms = (inner + math.log(share / (a + b)) for share in (a, b))
            starts.append([math.log(level * e), *terms, alpha, beta])
        return np.array(starts)

    def predict(self, theta: Floats) -> tuple[Floats, Floats]:
        e, a, b, alpha, beta = (theta[:, k, None] for k in range(UNKNOWNS))
        inner, of_inner = _log_sum(a - alpha * self.n, b - self.d)
        logs, shares = _log_sum(e, beta * inner)
        pull = shares[..., 1] * beta
        slopes = [shares[..., 0], pull * of_inner[..., 0], pull * of_inner[..., 1]]
        return logs, np.stack([*slopes, -slopes[1] * self.n, shares[..., 1] * inner], -1)

    def law(self, theta: Floats) -> Law:
        e, a, b, alpha, beta = (float(value) for value in theta)
        n, d = self.center
        return KaplanLaw(math.exp(e), math.exp(a + alpha * n), alpha, math.exp(b + d), beta)


PROBLEMS: dict[Form, type[_Problem]] = {"hoffmann": _Problem, "kaplan": _KaplanProblem}


def _log_sum(*logs: Floats) -> tuple[Floats, Floats]:
    """Return the logarithm of the sum of terms, given theirs, and the shares of the terms, on a last axis."""
    terms = np.stack(np.broadcast_arrays(*logs), -1)
    top = terms.max(-1, keepdims=True)
    parts = np.exp(terms - top)
    total = parts.sum(-1, keepdims=True)
    return (top + np.log(total))[..., 0], parts / total


def fit(points: Sequence[Point], resamples: int = RESAMPLES, seed: int = 0) -> Fit:
    """Fit laws of both forms, with N as the parameters of the blocks and as all of them; return the best one.

    That is the one with the smallest median error of a run predicted from the others.
    """
    kinds: tuple[Counts, ...] = ("blocks", "all")
    laws = (_fit(points, counts, form) for form in PROBLEMS for counts in kinds)
    found = min(laws, key=lambda fitted: fitted.median_error)
    return replace(found, intervals=_bootstrap(points, found.counts, found.form, resamples, seed))


def _fit(points: Sequence[Point], counts: Counts, form: Form) -> Fit:
    problem, runs = PROBLEMS[form](points, counts), len(points)
    weights = np.concatenate([np.ones((1, runs)), 1 - np.eye(runs)])  # all runs, then all but one of them
    theta = _solve(problem, weights, problem.starts())
    predicted = np.exp(np.diagonal(problem.predict(theta[1:])[0]))
    left_out = [Prediction(p.name, p.bits, float(value)) for p, value in zip(points, predicted, strict=True)]
    largest = max(range(runs), key=lambda run: (points[run].counted(counts), points[run].tokens))
    return Fit(counts, form, problem.law(theta[0]), {}, left_out, left_out[largest])


def _bootstrap(
    points: Sequence[Point], counts: Counts, form: Form, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 95% interval of each number of the law over resampled sets of runs."""
    problem = PROBLEMS[form](points, counts)
    best = _solve(problem, np.ones((1, len(points))), problem.starts())
    starts = np.concatenate([best, problem.starts()[:1]])
    spread = [problem.law(theta) for theta in _solve(problem, _draws(points, counts, resamples, seed), starts)]
    ends = {name: np.percentile([getattr(law, name) for law in spread], LEVELS) for name in asdict(spread[0])}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _draws(points: Sequence[Point], counts: Counts, resamples: int, seed: int) -> Floats:
    """Return how often each run is in each resampled set, (resamples, runs).

    Sets with fewer than three sizes or budgets are drawn again: they would not determine the exponents.
    """
    drawn: list[Floats] = []
    generator, runs = np.random.default_rng(seed), len(points)
    sizes = np.array([point.counted(counts) for point in points])
    tokens = np.array([point.tokens for point in points])
    least = tuple(min(FEWEST_VALUES, len(set(values))) for values in (sizes, tokens))
    while len(drawn) < resamples:
        chosen = generator.integers(runs, size=runs)
        if len(set(sizes[chosen])) >= least[0] and len(set(tokens[chosen])) >= least[1]:
            drawn.append(np.bincount(chosen, minlength=runs).astype(np.float64))
    return np.array(drawn)


def _solve(problem: _Problem, weights: Floats, starts: Floats) -> Floats:
    """Return the best unknowns (P, UNKNOWNS) for each row of weights of the runs (P, runs), over all starts."""
    theta = np.tile(starts, (len(weights), 1))
    repeated = np.repeat(weights, len(starts), axis=0)
    for delta in DELTAS:
        theta, loss = _descend(problem, repeated, theta, delta)
    best = loss.reshape(len(weights), -1).argmin(1)
    return theta.reshape(len(weights), len(starts), UNKNOWNS)[np.arange(len(weights)), best]


def _descend(problem: _Problem, weights: Floats, theta: Floats, delta: float) -> tuple[Floats, Floats]:
    """Return better unknowns and their losses (P,): damped steps, each kept only where it lowers the loss."""
    damping = np.full(len(theta), 1e-2)
    logs, slopes = problem.predict(theta)
    loss = (weights * _huber(logs - problem.bits, delta)).sum(1)
    for _ in range(ITERATIONS):
        residuals = logs - problem.bits
        pull = weights * np.minimum(1, delta / np.maximum(np.abs(residuals), 1e-300))
        matrix = np.einsum("pri,pr,prj->pij", slopes, pull, slopes)
        vector = np.einsum("pri,pr->pi", slopes, pull * residuals)
        diagonal = damping[:, None] * (np.einsum("pii->pi", matrix) + 1e-9)
        step = np.linalg.solve(matrix + diagonal[:, :, None] * np.eye(UNKNOWNS), vector[..., None])[..., 0]
        proposed = theta - np.clip(step, -1, 1)
        proposed[:, 3:] = np.clip(proposed[:, 3:], *EXPONENT_RANGE)
        new_logs, new_slopes = problem.predict(proposed)
        new_loss = (weights * _huber(new_logs - problem.bits, delta)).sum(1)
        better = new_loss < loss
        if not better.any() and damping.min() > 1e6:
            break
        theta, loss = np.where(better[:, None], proposed, theta), np.where(better, new_loss, loss)
        logs, slopes = np.where(better[:, None], new_logs, logs), np.where(better[:, None, None], new_slopes, slopes)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e9)
    return theta, loss


def _huber(residuals: Floats, delta: float) -> Floats:
    size = np.abs(residuals)
    return np.where(size <= delta, residuals**2 / 2, delta * (size - delta / 2))
