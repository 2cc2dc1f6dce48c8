"""Processes ask each other now and then, all after the same steps, and nobody waits long for an answer."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tinylm.compute import distributed
from tinylm.compute.distributed import LONGEST_INTERVAL, Agreement, World


class Machine:
    """Two processes whose steps take `seconds`; what both say in an exchange is added up when the second has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float):
        self.now, self.seconds, self.exchanges = 0.0, seconds, list[float]()
        monkeypatch.setattr(distributed, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.said: list[Tensor] = []
        self.agreements = [self.join(leads) for leads in (True, False)]

    def join(self, leads: bool) -> Agreement:
        world: Any = SimpleNamespace(size=2, is_main=leads, sum=self.sum)
        return Agreement(world)

    def sum(self, values: Tensor) -> Tensor:
        self.said.append(values)
        return values

    def step(self, flags: tuple[bool, bool] = (False, False)) -> bool:
        """A step in both; whether they stop."""
        self.now += self.seconds
        self.said = []
        answers = [agreement.ask(flag) for agreement, flag in zip(self.agreements, flags, strict=True)]
        assert len(self.said) in (0, 2)  # both ask, or none
        if not self.said:
            assert answers == [[False], [False]]
            return False
        self.exchanges.append(self.now)
        flag, every = torch.stack(self.said).sum(0).tolist()
        for agreement in self.agreements:
            agreement._every = every
        return bool(flag)


@pytest.mark.parametrize("seconds", [1e-4, 0.01, 0.3, 5.0])
@pytest.mark.parametrize("asked", [(True, False), (False, True)])
def test_a_flag_in_any_process_is_seen_within_a_second_or_a_step(
    monkeypatch: pytest.MonkeyPatch, seconds: float, asked: tuple[bool, bool]
) -> None:
    machine = Machine(monkeypatch, seconds)
    for _ in range(1000):
        assert not machine.step()
    began = machine.now
    while not machine.step(asked):
        assert machine.now - began <= max(1.0, seconds)
    gaps = [b - a for a, b in zip(machine.exchanges, machine.exchanges[1:], strict=False)]
    assert max(gaps) <= max(1.0, seconds) + 1e-6
    assert len(machine.exchanges) <= 10 + machine.now / min(0.5, LONGEST_INTERVAL * seconds / 2)


def test_steps_that_only_seem_to_take_no_time_do_not_put_the_next_exchange_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU takes up many steps at once before the first one shows how long it takes."""
    machine = Machine(monkeypatch, 0.0)
    for _ in range(10):
        machine.step()
    began, machine.seconds = machine.now, 0.5
    while not machine.step((False, True)):
        assert machine.now - began <= 10


def test_one_process_asks_nobody() -> None:
    agreement = Agreement(World())
    assert [agreement.ask(flag, not flag) for flag in (True, False)] == [[True, False], [False, True]]
