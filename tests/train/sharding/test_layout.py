"""Whether weights are sharded and blocks computed again: where asked for, or where a step does not fit otherwise."""

import sys
from typing import Any

import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware
from tinylm.compute.distributed import World
from tinylm.train.setup.memory import layout_memory, step_memory
from tinylm.train.sharding import layout
from tinylm.train.sharding.layout import Layout, free_for_process, resolve_layout


class Two(World):
    """A world of two processes, of which the other finds the same."""

    def __init__(self) -> None:
        super().__init__(0, 2)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values


P = tiny.model_params(layers=6, width=64, mlp_width=128)


def resolve(world: World, hardware: Hardware = tiny.FP32_ON_CPU, **runtime: Any) -> Layout:
    return resolve_layout(P, 300, tiny.train_params(), tiny.runtime_params(**runtime), hardware, world)


def needed(sharing: int, checkpointing: bool, sequences: int) -> int:
    return layout_memory(P, 300, torch.float32, "cpu", sequences, sharing, checkpointing).total


def test_a_step_that_fits_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for free in (None, 10**12):
        monkeypatch.setattr(layout, "free_bytes", lambda device, free=free: free)
        assert resolve(World()) == resolve(Two()) == Layout()


def test_weights_are_sharded_first_and_then_blocks_computed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sizes = [needed(1, False, 4), needed(2, False, 4), needed(2, True, 4)]
    assert sizes == sorted(sizes, reverse=True)
    for free, expected in zip([*sizes, 0], [(False, False), (True, False), (True, True), (True, True)], strict=True):
        monkeypatch.setattr(layout, "free_bytes", lambda device, free=free: free)
        assert resolve(Two()) == Layout(*expected)
    assert "sharded over 2 processes: a step does not fit into the 0.0 MB that are free otherwise" in caplog.text
    monkeypatch.setattr(layout, "free_bytes", lambda device: needed(1, False, 8) - 1)
    assert resolve(World()) == Layout(False, True)
    assert resolve(World(), activation_checkpointing=False) == Layout()
    monkeypatch.setattr(layout, "free_bytes", lambda device: 0)
    assert resolve(Two(), parallel="ddp", activation_checkpointing=False) == Layout()


def test_the_processes_of_a_machine_share_the_memory_of_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "free_bytes", lambda device: 101)
    assert free_for_process(torch.device("cpu"), 2) == 50
    assert free_for_process(torch.device("cuda"), 2) == 101
    monkeypatch.setattr(layout, "free_bytes", lambda device: None)
    assert free_for_process(torch.device("cpu"), 2) is None


def test_what_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert resolve(Two(), parallel="fsdp", activation_checkpointing=True) == Layout(True, True)
    caplog.clear()
    assert resolve(World(), parallel="fsdp") == Layout()
    assert caplog.messages == ["runtime.parallel: fsdp has no effect in one process, which holds the whole model"]


def test_fsdp_is_refused_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "free_bytes", lambda device: 0)
    for hardware, reason in (
        (Hardware(torch.device("mps"), "bf16", 1), "on an Apple GPU"),
        (Hardware(torch.device("cuda"), "fp16", 1), "needs train.precision bf16 or fp32"),
    ):
        with pytest.raises(UserError, match=rf"^runtime.parallel: fsdp .*{reason}.*; use auto or ddp$"):
            resolve(Two(), hardware, parallel="fsdp")
        assert not resolve(Two(), hardware).sharded
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UserError, match="which do not train together on Windows"):
        resolve(World(), parallel="fsdp")


@pytest.mark.parametrize("changes", [{}, {"architecture": "gpt2", "qk_norm": False, "dropout": 0.1}])
def test_the_estimate_without_a_model_is_that_of_the_model(changes: dict[str, Any]) -> None:
    p = tiny.model_params(**{"layers": 4, **changes})
    whole = step_memory(tiny.make_model(300, **{"layers": 4, **changes}).train(), 5)
    assert layout_memory(p, 300, torch.float32, "cpu", 5) == whole
    shared = layout_memory(p, 300, torch.float32, "cpu", 5, processes=4)
    assert shared.weights == -(-whole.weights // 4)
    assert shared.activations == whole.activations
    assert shared.gathered > 0


@pytest.mark.parametrize("changes", [{}, {"architecture": "gpt2", "qk_norm": False, "dropout": 0.3}])
def test_blocks_that_are_computed_again_change_no_bit(changes: dict[str, Any]) -> None:
    model = tiny.make_model(300, spread=0.1, **changes).train()
    ids = torch.randint(0, 300, (3, 64), generator=torch.Generator().manual_seed(1))
    found = []
    for checkpointing in (False, True):
        model.zero_grad()
        model.checkpointing = checkpointing
        torch.manual_seed(2)
        loss = model.loss(ids, ids)
        loss.backward()
        found.append([loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_blocks_are_computed_again_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinylm.model import transformer

    calls: list[int] = []
    checkpoint = transformer.checkpoint
    monkeypatch.setattr(transformer, "checkpoint", lambda *x, **y: calls.append(1) or checkpoint(*x, **y))
    model = tiny.make_model(300)
    model.checkpointing = True
    ids = torch.zeros((1, 8), dtype=torch.long)
    model.loss(ids, ids)
    assert not calls
    model.train().loss(ids, ids)
    assert len(calls) == model.params.layers
