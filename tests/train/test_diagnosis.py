"""Each finding is reported for figures that show it, and not for those of a healthy run."""

import math

import pytest

from tinylm.train.log.diagnosis import diagnose, diagnose_speed

GUESS = math.log(2048)


def curve(losses: list[float], every: int = 100) -> list[dict[str, float]]:
    return [{"step": number * every, "loss": loss} for number, loss in enumerate(losses)]


def found(train: list[float] | None = None, val: list[float] | None = None, best: int | None = None) -> list[str]:
    """First words of the findings."""
    train = train or [7.6, 5, 4, 3, 2.5, 2.2, 2.0, 1.9, 1.8, 1.75]
    val = val or [7.6, 4.1, 3.0, 2.4, 2.0, 1.8]
    rows = curve(val)
    best_step = best if best is not None else int(min(rows, key=lambda row: row["loss"])["step"])
    return [line.split(":")[0] for line in diagnose(curve(train), rows, GUESS, best_step)]


def test_a_healthy_run_has_no_finding() -> None:
    assert found() == []


@pytest.mark.parametrize("first", [3.0, 12.0])
def test_a_first_loss_far_from_guessing(first: float) -> None:
    assert found(train=[first, 5, 4, 3, 2, 1.8]) == ["first loss"]


def test_a_plateau() -> None:
    assert found(train=[7.6, 3, 3], val=[7.6, 4, 3.0, 3.0, 2.9999, 2.9995]) == ["plateau"]
    assert found(train=[7.6, 3, 3], val=[7.6, 4, 3.0]) == []  # too few


def test_a_gap() -> None:
    assert found(train=[7.6, 3, 1.0], val=[7.6, 4, 3.0, 2.4, 2.0, 1.8]) == ["gap"]


def test_a_validation_loss_that_rises_again() -> None:
    assert found(train=[7.6, 3, 2], val=[7.6, 4, 2.0, 1.8, 1.9, 2.1]) == ["turned"]


def test_starving_and_slowing() -> None:
    steady = [{"step": n, "tokens_per_second": 1000.0} for n in range(16)]
    slowing = steady[:8] + [{"step": n, "tokens_per_second": 700.0} for n in range(8, 16)]
    assert diagnose_speed(steady, 0.01) == []
    assert [line.split(":")[0] for line in diagnose_speed(slowing, 0.5)] == ["starving", "slowing"]
    assert "50% of the time" in diagnose_speed(steady, 0.5)[0]
    assert diagnose_speed(slowing[6:9], 0.01) == []  # too few
