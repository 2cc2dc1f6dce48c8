"""Too little memory: estimated before the first step, and reported in one line if an allocation fails."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import LONGEST_LINE, UserError
from tinylm.compute.memory import gigabytes
from tinylm.train import run as training_run
from tinylm.train.outputs import Folders
from tinylm.train.run import run_training
from tinylm.train.setup import memory
from tinylm.train.setup.memory import step_bytes
from tinylm.train.sharding import layout
from tinylm.train.step import Trainer

CPU = torch.device("cpu")
CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 14.74 GiB of which 1.06 GiB is free."
)
MPS = RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB, max allowed: 9.07 GB). Tried to allocate 512 MiB on private pool.")  # fmt: skip # noqa: E501
WINDOWS = RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes.")  # fmt: skip # noqa: E501


@pytest.mark.parametrize("changes", [{}, {"architecture": "gpt2", "qk_norm": False, "dropout": 0.1}])
def test_the_estimate_is_linear_in_the_sequences(changes: dict[str, Any]) -> None:
    model = tiny.make_model(300, **changes).train()
    needed = [step_bytes(model, sequences) for sequences in (1, 2, 3, 9)]
    sequence = needed[1] - needed[0]
    assert needed[2] - needed[1] == pytest.approx(sequence, abs=1)
    assert needed[3] - needed[2] == pytest.approx(6 * sequence, abs=7)
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    assert needed[0] > weights + sequence
    least = model.params.layers * model.params.context * (4 * model.params.width + 2 * model.params.mlp_width) * 4
    assert least < sequence < 20 * least


def test_what_the_forward_pass_saves_is_counted_once() -> None:
    """Against a count by hand, for a model whose saved tensors are known."""
    x, weight = torch.randn(3, 5), torch.randn(7, 5, requires_grad=True)

    class Known:
        params = type("Params", (), {"context": 3})
        vocab_size = 11
        embedding = type("Embedding", (), {"weight": weight})

        def parameters(self) -> list[torch.Tensor]:
            return [weight]

        def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            y = x.repeat(len(ids), 1) @ weight.T  # saves x
            return y.sin().sum() + y.cos().sum()  # saves y, twice

    saved: Any = memory.saved_bytes
    assert saved(Known(), 2) == (4 * (6 * 5 + 6 * 7), 0)
    Known.vocab_size = 7  # as if y were the logits
    assert saved(Known(), 2) == (4 * 6 * 5, 4 * 6 * 7)


def test_a_step_that_will_not_fit_gives_a_warning(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for free, message in (
        (10**5, "takes about 8"),
        (10**12, "memory: about 8"),
        (None, "memory: about 8"),
    ):
        caplog.clear()
        monkeypatch.setattr(layout, "free_bytes", lambda device, free=free: free)
        run_training(tiny.model_params(), tiny.train_params(steps=2), tiny.runtime_params(), folders)
        lines = [record.message for record in caplog.records if message in record.message]
        assert len(lines) == 1
        if free == 10**5:
            assert lines[0].endswith(
                " and 0.1 MB are free; lower train.micro_batch_size (null: all 8 of train.batch_size), which changes "
                "nothing else, or model.context (64) or model.width (32)"
            )


def test_one_of_two_processes_has_half_of_the_memory(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(layout, "free_bytes", lambda device: 10**8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    run_training(tiny.model_params(), tiny.train_params(steps=2), tiny.runtime_params(), folders)
    (warning,) = (record.message for record in caplog.records if "takes about" in record.message)
    assert " and 50.0 MB are free; " in warning


def test_an_allocation_that_fails_before_the_first_step(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "build_model", lambda *_: torch.empty(2**50, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"^out of memory: .* more were wanted .*; lower train\.micro_batch_size .*\)$"):
        run_training(tiny.model_params(), tiny.train_params(), tiny.runtime_params(), folders)


def test_an_allocation_that_fails_in_a_step(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    train_step, steps = Trainer.train_step, []

    def refused(self: Trainer, step: int) -> Any:
        if step == 7 and not steps:
            steps.append(step)
            torch.empty(2**50, dtype=torch.uint8)
        return train_step(self, step)

    monkeypatch.setattr(Trainer, "train_step", refused)
    place = replace(folders, resume=tmp_path / "resume" / "train-0")
    settings = tiny.train_params(resume_every=5, micro_batch_size=4)
    with pytest.raises(UserError) as raised:
        run_training(tiny.model_params(), settings, tiny.runtime_params(), place)
    line = str(raised.value)
    assert line.startswith(f"out of memory: {gigabytes(2**50)} more were wanted and ")
    assert line.endswith(
        "; lower train.micro_batch_size (4), which changes nothing else, or model.context (64) or model.width (32); "
        "the same command resumes after step 5"
    )
    assert len(line) < LONGEST_LINE
    trainer = run_training(tiny.model_params(), settings, tiny.runtime_params(), place)
    assert trainer.step == 12
