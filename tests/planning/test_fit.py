"""The fit of a scaling law recovers the law that made the runs, and says how far it can be trusted."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.support.planning import LAW, points
from tinylm.planning.fit import DELTAS, PROBLEMS, Point, _bootstrap, _fit, fit
from tinylm.planning.law import Form, KaplanLaw, Law


def test_the_law_of_runs_without_noise_is_found_exactly() -> None:
    found = fit(points(), resamples=20)
    assert dataclasses.astuple(found.law) == pytest.approx(dataclasses.astuple(LAW), rel=1e-6)
    assert (found.counts, found.form) == ("blocks", "hoffmann")
    assert found.typical_error < 1e-8
    for name, (low, high) in found.intervals.items():
        assert low == pytest.approx(high, rel=1e-4) == pytest.approx(getattr(LAW, name), rel=1e-4)


def test_a_law_of_the_other_form_is_found_exactly() -> None:
    law = KaplanLaw(E=0.2, A=50.0, alpha=0.44, B=4e5, beta=0.38)
    found = fit(points(law=law), resamples=20)
    assert isinstance(found.law, KaplanLaw)
    assert found.form == "kaplan"
    assert dataclasses.astuple(found.law) == pytest.approx(dataclasses.astuple(law), rel=1e-5)
    assert found.typical_error < 1e-7


def test_the_largest_run_at_the_largest_budget_is_predicted_from_the_others() -> None:
    found = fit(points(), resamples=2)
    assert found.held_out.name == "s-2962960-4000000"
    assert found.held_out.predicted == pytest.approx(found.held_out.measured, rel=1e-9)
    assert [prediction.name for prediction in found.left_out] == [point.name for point in points()]
    worse = points()
    worse[-1] = dataclasses.replace(worse[-1], bits=2 * worse[-1].bits)  # which the prediction must not see
    held_out = fit(worse, resamples=2).held_out
    assert held_out.predicted == pytest.approx(points()[-1].bits, rel=1e-6)
    assert held_out.error == pytest.approx(-0.5)


@pytest.mark.parametrize("counts", ["blocks", "parameters"])
def test_the_parameters_that_predict_better_are_counted(counts: str) -> None:
    of = points()
    runs = [dataclasses.replace(p, bits=LAW.predict(getattr(p, counts), p.tokens)) for p in of]
    assert fit(runs, resamples=2).counts == {"blocks": "blocks", "parameters": "all"}[counts]


def test_intervals_cover_the_law_about_as_often_as_they_say() -> None:
    """Of 12 ladders with noise of 0.5%; 95% intervals of so few runs may miss somewhat more often than 1 in 20."""
    covered = dict.fromkeys(dataclasses.asdict(LAW), 0)
    for seed in range(12):
        for name, (low, high) in _bootstrap(points(0.005, seed), "blocks", "hoffmann", 60, seed).items():
            assert low < high
            covered[name] += low <= getattr(LAW, name) <= high
    assert min(covered.values()) >= 9
    assert sum(covered.values()) >= 50  # of 60


def test_noise_moves_the_held_out_prediction_little() -> None:
    assert all(abs(fit(points(0.005, seed), resamples=1).held_out.error) < 0.02 for seed in range(4))


def test_the_interval_widens_with_the_noise() -> None:
    widths = [np.ptp(fit(points(noise), resamples=60).intervals["alpha"]) for noise in (0.001, 0.01)]
    assert widths[1] > 3 * widths[0]


def test_one_wild_run_does_not_spoil_the_fit() -> None:
    """The Huber loss bounds its pull."""
    runs = points(0.0005)
    runs[5] = dataclasses.replace(runs[5], bits=1.3 * runs[5].bits)
    law = fit(runs, resamples=2).law
    assert law.predict(1e6, 3e6) == pytest.approx(LAW.predict(1e6, 3e6), rel=0.01)


def test_the_minimum_is_that_of_another_optimizer() -> None:
    """Torch's L-BFGS, as in Hoffmann et al., started at the law, finds no lower Huber loss."""
    runs = points(0.004, seed=3)
    law = _fit(runs, "blocks", "hoffmann").law
    n, d, bits = (torch.tensor([getattr(p, key) for p in runs]).double().log() for key in ("blocks", "tokens", "bits"))

    def loss(theta: torch.Tensor) -> torch.Tensor:
        e, a, b, alpha, beta = theta
        logs = torch.stack([e.expand_as(n), a - alpha * n, b - beta * d]).logsumexp(0)
        return torch.nn.functional.huber_loss(logs, bits, delta=DELTAS[-1], reduction="sum")

    ours = torch.tensor([math.log(law.E), math.log(law.A), math.log(law.B), law.alpha, law.beta]).double()
    theta = ours.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(theta)
        value.backward()
        return value

    optimizer.step(closure)
    assert loss(ours).item() <= loss(theta).item() * 1.001


@pytest.mark.parametrize("form", PROBLEMS)
def test_derivatives_are_those_of_finite_differences(form: Form) -> None:
    problem, theta, small = PROBLEMS[form](points(), "blocks"), np.array([[-0.5, -1.0, -1.5, 0.3, 0.4]]), 1e-6
    _, slopes = problem.predict(theta)
    for unknown in range(5):
        moved = theta.copy()
        moved[0, unknown] += small
        numeric = (problem.predict(moved)[0] - problem.predict(theta)[0]) / small
        np.testing.assert_allclose(slopes[..., unknown], numeric, atol=1e-5)


def test_equal_runs_give_equal_fits() -> None:
    assert fit(points(0.01), resamples=20) == fit(points(0.01), resamples=20)


def test_a_law_in_plain_numbers() -> None:
    assert Law(1.0, 8.0, 0.5, 27.0, 1 / 3).predict(4, 27) == pytest.approx(1 + 4 + 9)
    assert KaplanLaw(1.0, 8.0, 0.5, 30.0, 1.5).predict(4, 6) == pytest.approx(1 + 9**1.5)
    assert str(Law(1.0, 8.0, 0.5, 27.0, 0.25)) == "1.0000 + 8 / N^0.500 + 27 / D^0.250"
    assert str(KaplanLaw(1.0, 8.0, 0.5, 30.0, 1.5)) == "1.0000 + (8 / N^0.500 + 30 / D)^1.500"
    assert Point("a", 2, 3, 4, 1.0).counted("all") == 3
