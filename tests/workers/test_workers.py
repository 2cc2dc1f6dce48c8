"""Which workers `runtime` asks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tinylm.base import extras
from tinylm.base.cores import usable_cores
from tinylm.base.errors import UserError
from tinylm.workers.processes import LocalWorkers
from tinylm.workers.workers import open_workers


@pytest.mark.parametrize(("workers", "count"), [(None, usable_cores()), (3, 3)])
def test_processes_of_this_machine(workers: int | None, count: int) -> None:
    opened = open_workers(tiny.runtime_params(workers=workers))
    assert isinstance(opened, LocalWorkers)
    assert opened.count == count


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "EXTRAS", {"ray": ("a_package_that_is_missing",)})
    with pytest.raises(UserError, match="runtime.engine: ray needs the extra `ray`"):
        open_workers(tiny.runtime_params(engine="ray"))


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    code = """
from tinylm.workers.ray import RayWorkers
list(RayWorkers().map(lambda: str, [1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT), "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
    )
    assert "UserError: runtime.engine: ray: expected a Ray cluster at RAY_ADDRESS=127.0.0.1:1, got none" in done.stderr
    assert "start one with `ray start --head`" in done.stderr


def test_few_items_need_no_process() -> None:
    made = []
    workers = LocalWorkers(8)
    assert list(workers.map(lambda: made.append(1) or str, [5])) == ["5"]  # type: ignore[func-returns-value]
    assert list(workers.map(lambda: made.append(1) or str, [5, 6], most=1)) == ["5", "6"]  # type: ignore[func-returns-value]
    assert made == [1, 1]
