"""The number of cores: those that this process may use; of Apple silicon the fast ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tinylm.base import cores


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    cores._performance_cores.cache_clear()
    yield
    cores._performance_cores.cache_clear()


@pytest.mark.parametrize(("shown", "expected"), [("4\n", 4), ("", 10)])
def test_on_apple_the_performance_cores_count(monkeypatch: pytest.MonkeyPatch, shown: str, expected: int) -> None:
    """An Intel processor has none: sysctl prints an error."""
    asked = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command[1:])
        return SimpleNamespace(stdout=shown)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [cores.usable_cores(), cores.usable_cores()] == [expected, expected]
    assert asked == [["-n", "hw.perflevel0.physicalcpu"]]


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert cores.usable_cores() == 10
