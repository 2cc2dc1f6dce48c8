"""How many GPUs share a run if runtime.processes is null, and how that is reported."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute import distributed
from tinylm.compute.distributed import World, process_group
from tinylm.model.transformer import training_flop_per_token
from tinylm.train.setup.processes import SHARING_PAYS_FROM_FLOP, resolve_processes, share_gpus, step_flop

MUCH = 1e15  # FLOP per step


@pytest.mark.parametrize(
    ("gpus", "batch", "micro", "processes"),
    [
        *((2, 16, None, 2), (3, 16, None, 2), (5, 16, None, 4), (7, 16, None, 4), (8, 16, None, 8), (6, 12, None, 6)),
        *((8, 16, 4, 4), (3, 16, 16, 1), (8, 7, None, 7), (6, 7, None, 1), (1, 7, None, 1)),
    ],
)
def test_the_most_gpus_that_share_a_batch_equally(
    caplog: pytest.LogCaptureFixture, gpus: int, batch: int, micro: int | None, processes: int
) -> None:
    caplog.set_level("INFO")
    p = tiny.train_params(batch_size=batch, micro_batch_size=micro)
    assert share_gpus(gpus, p, MUCH) == processes
    World(0, processes).share(batch)  # no error
    if processes == gpus:
        assert caplog.messages == []
    else:
        of = f" in micro-batches of {micro}" if micro else ""
        why = f"more do not divide train.batch_size ({batch}){of}"
        assert caplog.messages == [f"on {processes} of {gpus} GPUs: {why}; set runtime.processes to change this"]


@pytest.mark.parametrize(("shares", "processes"), [(0.5, 1), (1.9, 1), (2, 2), (5, 4), (8, 8)])
def test_as_many_as_benefit(caplog: pytest.LogCaptureFixture, shares: float, processes: int) -> None:
    caplog.set_level("INFO")
    assert share_gpus(8, tiny.train_params(batch_size=16), shares * SHARING_PAYS_FROM_FLOP) == processes
    expected = f"on {processes} of 8 GPUs: a step of {shares * SHARING_PAYS_FROM_FLOP / 1e9:,.0f} GFLOP is too small"
    assert [message.split(" to benefit")[0] for message in caplog.messages] == ([] if processes == 8 else [expected])


def test_the_flop_of_a_step() -> None:
    model = tiny.make_model()
    expected = training_flop_per_token(model.params, sum(w.numel() for w in model.parameters())) * 64 * 8
    assert step_flop(tiny.model_params(), tiny.train_params(batch_size=8), 300) == expected


def test_the_number_of_processes_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)

    def resolve(processes: int | None, device: str = "auto") -> int:
        runtime = tiny.runtime_params(device=device, processes=processes)
        return resolve_processes(tiny.model_params(), tiny.train_params(), runtime, 300)

    assert (resolve(None), resolve(8), resolve(3)) == (1, 8, 3)
    assert (resolve(None, "cpu"), resolve(3, "cpu")) == (1, 3)
    with pytest.raises(UserError, match="runtime.processes: expected at most 8, one for each GPU, got 9"):
        resolve(9)


def test_processes_exchange_gradients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}
    monkeypatch.setattr(distributed, "DistributedDataParallel", lambda module, **options: calls.update(options))
    World(0, 2).wrap(nn.Linear(2, 2))
    assert calls == {"gradient_as_bucket_view": True, distributed.BROADCAST_BUFFERS: False}


@pytest.mark.parametrize("device", [torch.device("cpu"), torch.device("cuda", 1)])
def test_processes_meet_on_their_own_gpu(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    calls: list[Any] = []
    group = SimpleNamespace(
        init_process_group=lambda backend, timeout, device_id=None: calls.append((backend, device_id)),
        new_group=lambda backend, timeout: None,
        get_rank=lambda: 1,
        get_world_size=lambda: 2,
        barrier=lambda control: None,
        all_reduce=lambda values, group: None,
        all_gather_object=lambda values, value, group: values.__setitem__(0, ("machine", False)),
        DistError=RuntimeError,
    )
    monkeypatch.setattr(distributed, "dist", group)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(device.index))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with process_group(device) as world:
        assert (world.rank, world.size, world.hosts) == (1, 2, ("machine",))
    assert calls == ([("gloo", None)] if device.type == "cpu" else [1, ("nccl", device)])
