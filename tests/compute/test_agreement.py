"""Processes exchange flags every so often, after the same steps, and a flag is seen soon."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tinylm.compute import distributed
from tinylm.compute.distributed import LONGEST_INTERVAL, Agreement, World


class Machine:
    """Simulates two processes whose steps take `seconds`; an exchange is summed once both have contributed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float):
        self.now, self.seconds, self.exchanges = 0.0, seconds, list[float]()
        monkeypatch.setattr(distributed, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.contributions: list[Tensor] = []
        self.agreements = [self.join(is_main) for is_main in (True, False)]

    def join(self, is_main: bool) -> Agreement:
        world: Any = SimpleNamespace(size=2, is_main=is_main, sum=self.sum)
        return Agreement(world)

    def sum(self, values: Tensor) -> Tensor:
        self.contributions.append(values)
        return values

    def step(self, flags: tuple[bool, bool] = (False, False)) -> bool:
        """Run a step in both processes; return whether they stop."""
        self.now += self.seconds
        self.contributions = []
        answers = [agreement.ask(flag) for agreement, flag in zip(self.agreements, flags, strict=True)]
        assert len(self.contributions) in (0, 2)  # both take part, or neither
        if not self.contributions:
            assert answers == [[False], [False]]
            return False
        self.exchanges.append(self.now)
        flag, every = torch.stack(self.contributions).sum(0).tolist()
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
    start = machine.now
    while not machine.step(asked):
        assert machine.now - start <= max(1.0, seconds)
    gaps = [b - a for a, b in zip(machine.exchanges, machine.exchanges[1:], strict=False)]
    assert max(gaps) <= max(1.0, seconds) + 1e-6
    assert len(machine.exchanges) <= 10 + machine.now / min(0.5, LONGEST_INTERVAL * seconds / 2)


def test_steps_that_only_seem_instant_do_not_delay_the_next_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU queues many steps before the first one shows how long a step takes."""
    machine = Machine(monkeypatch, 0.0)
    for _ in range(10):
        machine.step()
    start, machine.seconds = machine.now, 0.5
    while not machine.step((False, True)):
        assert machine.now - start <= 10


def test_a_single_process_needs_no_exchange() -> None:
    agreement = Agreement(World())
    assert [agreement.ask(flag, not flag) for flag in (True, False)] == [[True, False], [False, True]]
