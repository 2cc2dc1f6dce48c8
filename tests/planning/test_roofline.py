"""The model of a GPU's speed: against what is published, and in its parts."""

import dataclasses
import re

import pytest
import torch

from tests.support.planning import workload
from tests.support.tiny import ROOT
from tinylm.base.params import read_params
from tinylm.planning import roofline
from tinylm.planning.devices import find_cluster
from tinylm.planning.roofline import StepTime, step_time
from tinylm.planning.sizes import count_parameters
from tinylm.planning.workload import Workload, workload_of
from tinylm.train.setup.memory import layout_memory
from tinylm.train.sharding.layout import Layout

FOUR_HOURS = workload_of(read_params(ROOT / "presets/four_hour.yaml"))


def gpt2() -> Workload:
    """Return nanoGPT's reproduction of GPT-2: 480 sequences of 1,024 tokens on eight GPUs, 12 in memory at once."""
    model = FOUR_HOURS.model.model_copy(
        update={"architecture": "gpt2", "layers": 12, "heads": 12, "width": 768, "mlp_width": 3072, "context": 1024}
    )
    train = FOUR_HOURS.train.model_copy(update={"batch_size": 480, "micro_batch_size": 12})
    size = count_parameters(model, 50_304)
    return dataclasses.replace(FOUR_HOURS, model=model, train=train, vocab_size=50_304, size=size)


def times(run: Workload, device: str, compiled: bool = True, **layout: bool) -> StepTime:
    cluster = find_cluster(device)
    sequences = run.train.batch_size // cluster.count
    share = layout_memory(run.model, run.vocab_size, torch.bfloat16, "meta", sequences)
    return step_time(run, cluster, share, compiled, Layout(**layout))


@pytest.mark.parametrize(
    ("run", "device", "reported"),
    [(FOUR_HOURS, "T4", 21_000), (FOUR_HOURS, "A100", 230_000), (gpt2(), "8xA100", 853_000)],
)
def test_the_model_comes_near_published_speeds(run: Workload, device: str, reported: int) -> None:
    speed = run.tokens_per_step / times(run, device).seconds
    assert speed == pytest.approx(reported, rel=0.31)
    rows = re.findall(r"([\d,]+)(?: tokens/s reported)? +([\d,]+)(?: here)?$", roofline.__doc__ or "", re.MULTILINE)
    documented = {int(a.replace(",", "")): int(b.replace(",", "")) for a, b in rows}
    assert documented[reported] == pytest.approx(speed, rel=0.01)


def test_what_a_step_waits_for() -> None:
    large = times(gpt2(), "A100")
    assert large.bound == "arithmetic"
    assert large.seconds == large.arithmetic > large.memory > large.launches
    small = times(workload(model__width=32, model__layers=12, model__heads=1, train__batch_size=1), "H100")
    assert small.bound == "kernel launches"
    assert small.seconds == small.launches
    assert StepTime(1.0, 2.0, 0.5, 0.1).bound == "memory"
    assert StepTime(1.0, 2.0, 0.5, 3.0).bound == "communication"
    assert StepTime(1.0, 2.0, 0.5, 3.0).seconds == 5.0


def test_several_devices_share_the_work_and_exchange_gradients() -> None:
    one, eight = times(gpt2(), "A100"), times(gpt2(), "8xA100")
    assert eight.arithmetic == pytest.approx(one.arithmetic / 8)
    assert one.exchange == 0
    assert eight.exchange == pytest.approx(2 * 7 / 8 * 4 * gpt2().size.total / 300e9)


def test_launches() -> None:
    run = workload()
    assert times(run, "T4", compiled=False).launches > 1.5 * times(run, "T4").launches
    assert times(workload(train__optimizer="adamw"), "T4").launches < times(run, "T4").launches
    assert times(workload(train__micro_batch_size=2), "T4").launches > times(run, "T4").launches


def test_blocks_that_are_computed_again_take_time() -> None:
    run = gpt2()
    once, again = times(run, "A100"), times(run, "A100", checkpointing=True)
    assert 1.2 < again.arithmetic / once.arithmetic < 4 / 3  # the head is computed once
    assert again.memory > once.memory
    assert 1.25 < again.launches / once.launches < 1.4


def test_each_device_updates_its_shard() -> None:
    whole, sharded = times(gpt2(), "8xA100"), times(gpt2(), "8xA100", sharded=True)
    assert (whole.memory - sharded.memory) * 1555e9 == pytest.approx(28 * 7 / 8 * gpt2().size.total)
    assert sharded.exchange > whole.exchange
