"""The measured speed: real training steps, and nothing of the process is left changed."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from tests.support import tiny
from tests.support.planning import workload
from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware
from tinylm.planning import probe as module
from tinylm.planning.probe import MOST_STEPS, probe, time_steps
from tinylm.train.step import Trainer

TINY = {"model__layers": 1, "model__width": 32, "model__heads": 1, "model__mlp_width": 32}
TINY |= {"train_tokenizer__vocab_size": 300, "train__batch_size": 4}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Trainer]:
    """Return the list to which each training step adds its trainer."""
    done: list[Trainer] = []
    train_step = Trainer.train_step

    def counted(self: Trainer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        done.append(self)
        assert step < self.steps
        return train_step(self, step)

    monkeypatch.setattr(Trainer, "train_step", counted)
    monkeypatch.setattr(module, "SECONDS", 0.02)
    return done


def test_some_steps_are_timed(steps: list[Trainer]) -> None:
    run = workload(**TINY, train__warmup_steps=3000, train__epochs=None)
    speed = probe(run, tiny.FP32_ON_CPU, compiled=False)
    timed = len(steps) - 1
    assert 4 <= timed <= MOST_STEPS
    assert speed.source == f"measured here: {timed} steps in fp32"
    assert speed.tokens_per_second > 100
    assert len({id(trainer) for trainer in steps}) == 1
    assert steps[0].tokens_per_step == 1024
    assert not steps[0].compiled


def test_one_of_several_processes_has_its_share(steps: list[Trainer]) -> None:
    speed = probe(workload(**TINY), tiny.FP32_ON_CPU, False, processes=4)
    assert steps[0].p.batch_size == 1
    assert speed.source.endswith("of 1 of 4 processes")
    seconds_per_step = 1024 / speed.tokens_per_second  # of all processes together
    assert seconds_per_step < 1


def test_processes_that_share_the_cores_measure_at_the_same_time() -> None:
    run = workload(**TINY)
    speed = probe(run, tiny.FP32_ON_CPU, False, processes=4, here=2)
    assert speed.source.endswith("steps in fp32 of 2 of 4 processes at once")
    assert speed.tokens_per_second > 100


def test_processes_with_a_gpu_each_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time_steps", lambda *_: (1.0, 4))
    gpu = Hardware(torch.device("cuda", 0), "bf16", 1)
    assert probe(workload(**TINY), gpu, False, processes=4, here=2).source.endswith("of 1 of 4 processes")


def slower_by_turn(wait: Callable[[], int]) -> tuple[float, int]:
    return 1.0 + wait(), torch.get_num_threads()  # the barrier gives each process another number


def test_the_slowest_process_sets_the_pace() -> None:
    assert module._slowest(slower_by_turn, threads=3, together=2) == (2.0, 3)


def one_ends(end: Callable[[], None], first: Path, wait: Callable[[], int]) -> tuple[float, int]:
    try:
        first.touch(exist_ok=False)
    except FileExistsError:
        wait()
    end()
    return 1.0, 1


def fail() -> None:
    raise ArithmeticError


def test_a_process_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ProcessRaisedException, match="ArithmeticError"):
        module._slowest(partial(one_ends, fail, tmp_path / "first"), 1, 2)


def test_a_process_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^one of 2 processes that measured the speed died .* --no-probe models it"):
        module._slowest(partial(one_ends, partial(os._exit, 9), tmp_path / "first"), 1, 2)


def test_compiled_if_the_run_is(steps: list[Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    assert probe(workload(**TINY), tiny.FP32_ON_CPU, True).source.endswith("compiled steps in fp32")
    assert steps[0].compiled


def test_the_others_are_waited_for_after_the_step_that_compiles(steps: list[Trainer]) -> None:
    done: list[int] = []
    time_steps(workload(**TINY), tiny.FP32_ON_CPU, False, wait=lambda: done.append(len(steps)))
    assert done == [1]


def test_the_process_is_left_as_it_was(steps: list[Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_deterministic", lambda device: torch.use_deterministic_algorithms(True))
    time_steps(workload(**TINY), tiny.FP32_ON_CPU, False)
    assert not torch.are_deterministic_algorithms_enabled()
