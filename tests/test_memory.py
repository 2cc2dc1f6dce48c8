"""Memory that does not suffice: foretold before the first step, and told in one line where it is refused."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from tinylm import memory, train_run
from tinylm.errors import LONGEST_LINE, UserError
from tinylm.memory import explaining_out_of_memory, free_bytes, gigabytes, is_refusal, step_bytes, wanted_bytes
from tinylm.train_run import Folders, run_training
from tinylm.trainer import Trainer

CPU = torch.device("cpu")
CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 14.74 GiB of which 1.06 GiB is free."
)
MPS = RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB, max allowed: 9.07 GB). Tried to allocate 512 MiB on private pool.")  # fmt: skip # noqa: E501
WINDOWS = RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes.")  # fmt: skip # noqa: E501


def refused_by_torch() -> BaseException:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    return raised.value


def refused_by_numpy() -> BaseException:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**60, np.uint8)
    return raised.value


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (refused_by_torch(), 2**50),
        (refused_by_numpy(), 2**60),
        (CUDA, 5 * 2**29),
        (MPS, 2**29),
        (WINDOWS, 4096),
        (MemoryError(), None),
    ],
)
def test_who_refuses_memory_and_how_much(error: BaseException, wanted: int | None) -> None:
    assert is_refusal(error)
    assert wanted_bytes(error) == wanted


def test_other_errors_are_not_of_memory() -> None:
    with (
        pytest.raises(RuntimeError, match="^mat1 and mat2 shapes cannot be multiplied$"),
        explaining_out_of_memory(CPU, "lower it"),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize(
    ("error", "free", "line"),
    [
        (CUDA, 10**9, "out of memory on the GPU: 2.7 GB more were wanted and 1.0 GB are free; lower it; goes on"),
        (MemoryError(), 10**9, "out of memory on the GPU: 1.0 GB are free; lower it; goes on"),
        (MemoryError(), None, "out of memory on the GPU; lower it; goes on"),
    ],
)
def test_a_refusal_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, free: int | None, line: str
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    with (
        pytest.raises(UserError) as raised,
        explaining_out_of_memory(torch.device("cuda"), "lower it", lambda: "; goes on"),
    ):
        raise error
    assert str(raised.value) == line


def test_what_is_free_is_the_least_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUPS", ())
    machine = free_bytes(CPU)
    assert machine
    assert machine > 0
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "used").write_text("3800\n")
    monkeypatch.setattr(memory, "CGROUPS", ((str(tmp_path / "max"), str(tmp_path / "used")),))
    assert free_bytes(CPU) == 1200
    (tmp_path / "max").write_text("max\n")
    assert free_bytes(CPU) == pytest.approx(machine, rel=0.5)
    (tmp_path / "max").write_text("3000\n")
    assert free_bytes(CPU) == 0
    monkeypatch.setattr(memory, "CGROUPS", ())
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10**15, 10**15) if which == resource.RLIMIT_AS else None)
    assert memory._address_space() == pytest.approx(10**15, rel=1e-2)
    assert free_bytes(CPU) == pytest.approx(machine, rel=0.5)


@pytest.mark.parametrize("changes", [{}, {"architecture": "gpt2", "qk_norm": False, "dropout": 0.1}])
def test_the_forecast_grows_with_every_window_alike(changes: dict[str, Any]) -> None:
    model = tiny.make_model(300, **changes).train()
    needed = [step_bytes(model, windows) for windows in (1, 2, 3, 9)]
    window = needed[1] - needed[0]
    assert needed[2] - needed[1] == pytest.approx(window, abs=1)
    assert needed[3] - needed[2] == pytest.approx(6 * window, abs=7)
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    assert needed[0] > weights + window
    least = model.params.layers * model.params.context * (4 * model.params.width + 2 * model.params.mlp_width) * 4
    assert least < window < 20 * least


def test_what_the_way_forward_keeps_is_counted_once() -> None:
    """Against a count by hand, of a model of which all is known."""
    x, weight = torch.randn(3, 5), torch.randn(7, 5, requires_grad=True)

    class Known:
        params = type("Params", (), {"context": 3})
        embedding = type("Embedding", (), {"weight": weight})

        def parameters(self) -> list[torch.Tensor]:
            return [weight]

        def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            y = x.repeat(len(ids), 1) @ weight.T  # keeps x
            return y.sin().sum() + y.cos().sum()  # keeps y, twice

    kept: Any = memory._kept_bytes
    assert kept(Known(), 2) == 4 * (6 * 5 + 6 * 7)


def test_a_step_that_will_not_fit_is_warned_of(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for free, message in (
        (10**5, "takes about 8"),
        (10**12, "memory: about 8"),
        (None, "memory: about 8"),
    ):
        caplog.clear()
        monkeypatch.setattr(train_run, "free_bytes", lambda device, free=free: free)
        run_training(tiny.model_params(), tiny.train_params(steps=2), tiny.runtime_params(), folders)
        lines = [record.message for record in caplog.records if message in record.message]
        assert len(lines) == 1
        if free == 10**5:
            assert lines[0].endswith(
                " and 0.1 MB are free; lower train.micro_batch_size (null: all 8 of train.batch_size), which changes "
                "nothing else, or model.context (64) or model.width (32)"
            )


def test_memory_that_is_refused_in_a_step(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    train_step, steps = Trainer.train_step, []

    def refused(self: Trainer, step: int) -> Any:
        if step == 7 and not steps:
            steps.append(step)
            torch.empty(2**50, dtype=torch.uint8)
        return train_step(self, step)

    monkeypatch.setattr(Trainer, "train_step", refused)
    place = replace(folders, states=tmp_path / "states" / "train-0")
    settings = tiny.train_params(checkpoint_every=5, micro_batch_size=4)
    with pytest.raises(UserError) as raised:
        run_training(tiny.model_params(), settings, tiny.runtime_params(), place)
    line = str(raised.value)
    assert line.startswith(f"out of memory: {gigabytes(2**50)} more were wanted and ")
    assert line.endswith(
        "; lower train.micro_batch_size (4), which changes nothing else, or model.context (64) or model.width (32); "
        "the same command goes on after step 5"
    )
    assert len(line) < LONGEST_LINE
    trainer = run_training(tiny.model_params(), settings, tiny.runtime_params(), place)
    assert trainer.step == 12
