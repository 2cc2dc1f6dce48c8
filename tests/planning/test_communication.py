"""What devices send each other: the formulas, and the bytes that leave the network interfaces of real processes."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import hosts
from tests.support.planning import workload
from tinylm.compute.device import DTYPES, Hardware, has_bf16
from tinylm.compute.distributed import World, process_group
from tinylm.planning.communication import Exchange, Links, Traffic, traffic
from tinylm.planning.random_tokens import random_store
from tinylm.planning.sizes import count_in_blocks
from tinylm.planning.workload import Workload
from tinylm.train.setup.build import build_model
from tinylm.train.sharding.layout import Layout
from tinylm.train.step import Trainer

DDP, FSDP = Layout(), Layout(sharded=True)
BF16, FP32 = torch.bfloat16, torch.float32
COUNTED = 4  # steps whose bytes are counted

positive = st.floats(1e6, 1e12)


def sent(layout: Layout, devices: int, dtype: torch.dtype = BF16, gloo: bool = False, **changes: Any) -> Traffic:
    run = workload(**{"train__batch_size": 64, "train__optimizer": "adamw"} | changes)
    return traffic(run, layout, devices, dtype, BF16, gloo)


class TestTraffic:
    def test_one_device_sends_nothing(self) -> None:
        assert sent(DDP, 1).total == sent(Layout(checkpointing=True), 1).total == 0

    def test_gradients_are_sent_once_a_step(self) -> None:
        for changes in ({}, {"train__micro_batch_size": 1}, {"train__optimizer": "muon"}):
            assert sent(DDP, 4, **changes) == Traffic(2 * 3 / 4 * 4 * 1_316_480)

    def test_weights_are_gathered_in_each_micro_batch(self) -> None:
        blocks = count_in_blocks(workload().model, 4096)[0]
        weights, outside = 2 * 2 * blocks, 8 * (1_316_480 - blocks)
        assert sent(FSDP, 4) == Traffic(3 / 4 * (weights + 4 * blocks + outside))
        assert sent(FSDP, 4, FP32).ring - sent(FSDP, 4).ring == 3 / 4 * weights
        assert sent(FSDP, 4, train__micro_batch_size=4).ring == 4 * sent(FSDP, 4).ring
        assert sent(FSDP, 4, gloo=True).ring - sent(FSDP, 4).ring == 3 / 4 * 4 * 1_316_480
        assert sent(Layout(True, True), 4) == sent(FSDP, 4)

    def test_muon_sends_its_matrices_there_and_back(self) -> None:
        matrices = count_in_blocks(workload().model, 4096)[1]
        for micro in (None, 2):
            muon = sent(FSDP, 4, train__optimizer="muon", train__micro_batch_size=micro)
            assert muon.pairs == 2 * (3 / 4) * 2 * matrices / 4
            assert muon.ring == sent(FSDP, 4, train__micro_batch_size=micro).ring


class TestLinks:
    @given(ring=positive, pairs=positive, inside=positive, between=positive, each=st.integers(2, 16))
    def test_the_slowest_link_sets_the_pace(
        self, ring: float, pairs: float, inside: float, between: float, each: int
    ) -> None:
        traffic, one = Traffic(ring, pairs), Links(each, 1, inside, between)
        assert one.seconds(traffic) == pytest.approx((ring + pairs) / inside)
        two = Links(2 * each, 2, inside, between)
        assert two.seconds(Traffic(ring)) == pytest.approx(ring / min(inside, between))
        leaving = each * pairs * each / (2 * each - 1)  # of all devices of a machine, to those of the other
        staying = pairs * (each - 1) / (2 * each - 1)
        assert two.seconds(Traffic(0, pairs)) == pytest.approx(max(leaving / between, staying / inside))
        assert Links(2, 2, inside, between).seconds(traffic) == pytest.approx((ring + pairs) / between)

    def test_the_pace_in_words(self) -> None:
        assert Links(8, 1, 450e9, 1.0).pace == "450 GB/s inside a machine"
        assert Links(16, 2, 450e9, 12.5e9).pace == "12.5 GB/s between machines"
        assert Links(16, 2, 16e9, 50e9).pace == "16 GB/s inside a machine"
        assert Links(2, 2, 16e9, 50e9).pace == "50 GB/s between machines"

    def test_links_that_are_not_known(self) -> None:
        assert Exchange(Traffic(1.0), None).seconds is None
        assert Exchange(Traffic(0.0), None).seconds == 0.0


# ---- what real processes send


def counted_run(**changes: Any) -> Workload:
    small = {"model__layers": 3, "model__width": 192, "model__heads": 3, "model__mlp_width": 384, "model__context": 64}
    small |= {"train_tokenizer__vocab_size": 3072, "generate__max_tokens": 32, "train__batch_size": 12}
    return workload(**small | changes)


def count_sent(rank: int, processes: int, address: str, precision: str, layout: list[bool], changes: Any) -> None:
    """Train as one of several processes; print the bytes that leave this host in a step."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in ranks.items()}
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "eth0"}
    torch.set_num_threads(1)
    run, hardware = counted_run(**changes), Hardware(torch.device("cpu"), precision, 1)
    with process_group(hardware.device) as world:
        kept = Layout(*layout)
        model = build_model(run.model, run.vocab_size, run.train, hardware, kept, processes)
        store = random_store(10_000, run.vocab_size)
        trainer = Trainer(model.train(), run.train, store, hardware, world=world, layout=kept)
        print(json.dumps(bytes_of_steps(trainer, world)), flush=True)
    os._exit(0)  # as a stage ends: the process group is not destroyed


def bytes_of_steps(trainer: Trainer, world: World) -> float:
    for step in range(2):  # the first ones set up connections and buckets
        trainer.train_step(step)
    world.gather(0)
    before = bytes_out()
    for step in range(2, 2 + COUNTED):
        trainer.train_step(step)
    world.gather(0)
    return (bytes_out() - before) / COUNTED


def bytes_out() -> int:
    """Return the bytes that have left this host, headers included."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    (eth0,) = (line.split() for line in lines if line.strip().startswith("eth0:"))
    return int(eth0[9])


@pytest.mark.torture
@pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())
@pytest.mark.parametrize(
    ("processes", "precision", "layout", "changes"),
    [
        (2, "fp32", DDP, {"train__micro_batch_size": 2}),
        (3, "bf16", DDP, {"train__optimizer": "adamw"}),
        (2, "bf16", Layout(True, True), {"train__micro_batch_size": 2}),
        (2, "fp32", FSDP, {"train__optimizer": "adamw"}),
        (3, "bf16", FSDP, {"train__micro_batch_size": 1}),
    ],
)
def test_processes_send_what_is_planned(processes: int, precision: str, layout: Layout, changes: Any) -> None:
    command = f"import json, sys; from {__name__} import count_sent; count_sent(*json.loads(sys.argv[1]))"
    with hosts.hosts(processes) as network, contextlib.ExitStack() as running:
        started = []
        for rank, host in enumerate(network):
            arguments = [
                rank,
                processes,
                network[0].address,
                precision,
                [layout.sharded, layout.checkpointing],
                changes,
            ]
            words = [sys.executable, "-c", command, json.dumps(arguments)]
            process = host.start(words, stdout=-1, stderr=-1, env=os.environ | {"OMP_NUM_THREADS": "1"})
            running.callback(process.kill)
            started.append(process)
        outputs = [process.communicate(timeout=180) for process in started]
    assert all(out for out, _ in outputs), outputs
    measured = sum(float(out) for out, _ in outputs) / processes
    run = counted_run(**changes)
    muon = BF16 if has_bf16(torch.device("cpu")) else FP32
    planned = traffic(run, layout, processes, DTYPES[precision], muon, gloo=True)
    assert measured == pytest.approx(planned.total, rel=0.01)
