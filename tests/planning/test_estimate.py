"""An estimate: its arithmetic, its limits, and what does not fit."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.test_law import write_law
from tests.support import tiny
from tests.support.planning import LAW, quick, workload
from tinylm.base.durations import show
from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware
from tinylm.compute.distributed import World
from tinylm.compute.memory import gigabytes
from tinylm.planning import targets
from tinylm.planning.checking import Measured, compare, table
from tinylm.planning.communication import Links
from tinylm.planning.devices import find_cluster
from tinylm.planning.estimate import Estimate, estimate, largest_micro_batch
from tinylm.planning.law import find_law
from tinylm.planning.lines import lines
from tinylm.planning.probe import Speed
from tinylm.planning.targets import LocalTarget, NamedTarget, Target, choose_layout, local_target, memory_of
from tinylm.planning.workload import Workload, sequences_of
from tinylm.train.sharding import layout as training_layout
from tinylm.train.sharding.layout import Layout, resolve_layout

T4 = NamedTarget(find_cluster("T4"))
DDP, FSDP = Layout(), Layout(sharded=True)
LAYOUTS = (DDP, FSDP, Layout(True, True))
LAYOUTS_BY_NAME = {"DDP": DDP, "FSDP": FSDP}


def named(text: str = "T4", **changes: Any) -> NamedTarget:
    cluster = find_cluster(text)
    return NamedTarget(dataclasses.replace(cluster, device=dataclasses.replace(cluster.device, **changes)))


def planned(run: Workload | None = None, target: Target = T4, **more: Any) -> Estimate:
    return estimate(run or workload(), target, more.pop("law", None), **more)


def test_time_energy_and_cost_follow_from_the_speed() -> None:
    found = planned(price=0.5)
    assert found.seconds == (6_144_000 + 403_200 / 3) / found.speed.tokens_per_second
    assert found.kilowatt_hours == pytest.approx(0.07 * found.seconds / 3600)
    assert found.cost == pytest.approx(0.5 * found.seconds / 3600)
    assert planned().cost is None
    assert planned(target=named("4xT4")).watts == 280


def test_the_disk() -> None:
    disk = planned().disk
    assert disk["model"] == 4 * 1_316_480
    assert disk["checkpoints"] == 5 * disk["model"]  # steps 0, 750, 1500, 2250 and 3000
    assert disk["token files"] == 2 * 4_500_000
    weights = 4 * (1_316_480 + 4096 * 128)  # the shared matrix twice
    moments = 4 * (2 * 1_316_480 - 792_192)
    assert disk["resume checkpoints"] == 2 * (2 * weights + moments) + disk["checkpoints"]
    first_and_last = workload(train__checkpoint_every=None, train__optimizer="adamw", model__tie_embeddings=False)
    disk = planned(first_and_last).disk
    assert disk["checkpoints"] == 2 * disk["model"]
    assert disk["resume checkpoints"] == (2 * 4 + 2) * disk["model"]


def test_resume_checkpoints_are_as_large_as_training_writes_them(tmp_path: Path) -> None:
    """Against the tensors of a trainer after a step."""
    from tests.support.planning import workload as make
    from tinylm.model.transformer import Transformer
    from tinylm.planning.random_tokens import random_store
    from tinylm.train.resume.snapshot import trainer_tensors
    from tinylm.train.step import Trainer

    run = make(model__layers=1, model__width=32, model__heads=1, train_tokenizer__vocab_size=300, train__val_stories=2)
    model = Transformer(run.model, 300)
    model.initialize(torch.Generator().manual_seed(0))
    trainer = Trainer(model.train(), run.train, random_store(2000, 300), tiny.FP32_ON_CPU)
    trainer.train_step(0)
    trainer.best.update(0, tiny.validation(1.0), model)
    written = sum(tensor.nbytes for tensor in trainer_tensors(trainer).values())
    disk = planned(run).disk
    assert written == pytest.approx((disk["resume checkpoints"] - disk["checkpoints"]) / 2, rel=0.01)


def test_bits_per_byte_by_the_law(tmp_path: Path) -> None:
    write_law(tmp_path)
    law = find_law(quick(), tmp_path)
    inside = planned(workload(train__steps=1900), law=law)
    assert inside.bits == pytest.approx(LAW.predict(792_192, 1900 * 2048), rel=0.01)
    assert inside.bits_interval
    assert inside.bits_interval[0] < inside.bits < inside.bits_interval[1] < 1.05 * inside.bits
    assert inside.notes() == []
    beyond = planned(workload(train__steps=20_000, train_tokenizer__vocab_size=1000), law=law)
    assert beyond.bits_interval is None
    assert beyond.notes() == [
        "extrapolated: 10.2 times beyond the runs of the law",
        "optimistic: each token is seen 9.1 times, the law is of new text",
        "the law is of 4,096 entries of the vocabulary, not 1,000",
    ]
    assert planned().bits is None
    assert planned().notes() == []


def test_the_lines(tmp_path: Path) -> None:
    write_law(tmp_path)
    shown = dict(line.split(None, 1) for line in lines(planned(price=1, law=find_law(quick(), tmp_path)), "x"))
    assert set(shown) == set("device parameters memory tokens work speed time energy cost disk bits".split())
    assert shown["parameters"].startswith("1,316,480: embedding 524,288, blocks 792,192, head 0 (it shares")
    assert "a model, not a measurement: compiled, fp16; arithmetic" in shown["speed"]
    assert shown["tokens"].startswith("6,144,000 in 3,000 steps of 2,048; each of about 4,500,000 is seen 1.4 times")
    without = list(lines(planned(), "tinystories v1"))
    assert without[-1] == (
        "bits per byte   not known: there is no law for tinystories v1 in scaling/; `tinylm scale` fits one"
    )


def test_json_has_the_same(tmp_path: Path) -> None:
    found = planned(price=1)
    content = json.loads(json.dumps(found.as_json()))
    assert content["seconds"] == found.seconds
    assert content["memory_bytes"]["total"] == found.memory.total
    assert content["parameters"] == {"embedding": 524_288, "blocks": 792_192, "head": 0, "total": 1_316_480}
    assert content["bits_per_byte"] is content["law"] is None


def test_too_little_memory_names_the_micro_batch_that_fits() -> None:
    whole = {"train__batch_size": 64, "runtime__activation_checkpointing": False}
    run, small = workload(**whole), named(memory=1.35)
    with pytest.raises(UserError) as raised:
        planned(run, small)
    fitting = largest_micro_batch(run, small)
    assert fitting in (1, 2, 4, 8, 16, 32)
    assert str(raised.value) == (
        f"T4: training with 64 sequences in memory at once takes about 1.4 GB, and 0.3 GB are there; "
        f"train.micro_batch_size: {fitting} fits, and changes nothing else"
    )
    planned(workload(**whole, train__micro_batch_size=fitting), small)
    with pytest.raises(UserError):
        planned(workload(**whole, train__micro_batch_size=2 * fitting), small)
    with pytest.raises(UserError, match="not even one sequence fits; lower model.width, model.layers or model.context"):
        planned(run, named(memory=1.01))


def test_devices_that_cannot_share_the_batch() -> None:
    with pytest.raises(UserError, match=r"^train.batch_size: expected a multiple of the 3 devices, got 8$"):
        planned(target=named("3xT4"))
    with pytest.raises(
        UserError, match=r"^train.micro_batch_size: expected a divisor of the 6 sequences of a device, got 4"
    ):
        planned(workload(train__batch_size=12, train__micro_batch_size=4), named("2xT4"))


@pytest.mark.parametrize(("device", "precision"), [("T4", "fp32"), ("T4", "bf16"), ("H100", "fp32")])
def test_a_precision_without_figures(device: str, precision: str) -> None:
    with pytest.raises(UserError, match=rf"^train.precision: {precision} cannot be planned for {device}, only"):
        planned(workload(train__precision=precision), named(device))


def test_compiled_as_the_run_would_be() -> None:
    assert "compiled" in planned(workload(train__steps=1000)).speed.source
    assert "compiled" not in planned(workload(train__steps=999)).speed.source
    assert "compiled" in planned(workload(train__steps=999, runtime__compile=True)).speed.source
    assert "compiled" not in planned(workload(runtime__compile=False)).speed.source


class TestSeveralDevices:
    def test_the_layout_and_what_it_costs(self) -> None:
        run = workload(train__batch_size=64)
        one, whole = planned(run), planned(run, named("2x4xL4"))
        assert one.efficiency == (1, 1)
        shown = dict(line.split(None, 1) for line in lines(whole, "x"))
        assert shown["layout"] == "DDP"
        assert "layout" not in dict(line.split(None, 1) for line in lines(one, "x"))
        seconds = 2 * 7 / 8 * 4 * 1_316_480 / 12.5e9
        step = 64 * 256 / whole.speed.tokens_per_second
        assert shown["communication"] == (
            f"9.2 MB sent by each device in a step: {seconds:.2g} of its {step:.2g} s, at 12.5 GB/s between machines"
        )
        assert whole.efficiency
        lowest, highest = whole.efficiency
        assert lowest == pytest.approx(
            whole.speed.tokens_per_second / 8 / planned(run, named("L4")).speed.tokens_per_second
        )
        assert highest == pytest.approx(lowest * step / max(step - seconds, seconds))
        assert shown["efficiency"] == (
            f"{lowest:.0%} of 8 times the speed of one, up to {highest:.0%} where computation hides communication"
        )
        faster = planned(run, NamedTarget(find_cluster("2x4xL4", 30e9)))
        assert faster.exchange.seconds == pytest.approx(seconds * 12.5 / 30)
        assert faster.speed.tokens_per_second > whole.speed.tokens_per_second

    def test_a_layout_has_its_reasons(self) -> None:
        run, layouts = workload(train__batch_size=128), set()
        needed = {layout: memory_of(run, named("2xL4"), 64, layout).total for layout in LAYOUTS}
        for memory, reasons in (
            (needed[DDP], ""),
            (needed[DDP] - 1e6, "DDP"),
            (needed[FSDP] - 1e6, "DDP FSDP"),
        ):
            found = planned(run, named("2xL4", memory=(1e9 + memory) / 1e9))
            layouts.add(found.chosen.layout)
            text = next(line for line in lines(found, "x") if line.startswith("layout"))
            missing = (f"{name} {gigabytes(needed[LAYOUTS_BY_NAME[name]])}" for name in reasons.split())
            assert text.endswith(f"would be needed: {', '.join(missing)})" if reasons else " DDP")
            assert found.memory.total == needed[found.chosen.layout] <= memory
        assert layouts == set(LAYOUTS)

    def test_json(self) -> None:
        found = planned(target=named("2xL4")).as_json()
        assert (found["parallel"], found["activation_checkpointing"]) == ("ddp", False)
        assert found["sent_bytes_per_step"] == 4 * 1_316_480
        assert 0 < found["efficiency"][0] < found["efficiency"][1] <= 1
        alone = planned().as_json()
        assert alone["parallel"] is alone["efficiency"] is None
        assert alone["sent_bytes_per_step"] == alone["exchange_seconds_per_step"] == 0

    def test_computation_hides_no_more_than_it_takes(self) -> None:
        slow = planned(target=NamedTarget(find_cluster("2x1xH100", 1e6)))
        assert slow.efficiency
        assert slow.exchange.seconds
        compute = 2048 / slow.speed.tokens_per_second - slow.exchange.seconds
        assert slow.efficiency[1] == pytest.approx(slow.efficiency[0] * (1 + compute / slow.exchange.seconds))

    def test_a_smaller_micro_batch_is_better_than_a_layout_that_takes_time(self) -> None:
        run = workload(train__batch_size=64, model__layers=16, train_tokenizer__vocab_size=512)
        assert memory_of(run, T4, 64, Layout(checkpointing=True)).total < memory_of(run, T4, 16, DDP).total
        memory = memory_of(run, T4, 16, DDP).total + 1e9
        assert largest_micro_batch(run, named(memory=(memory + 1) / 1e9)) == 16
        only_sharded = memory_of(run, named("8xL4"), 1, DDP).total + 1e9 - 1
        found = largest_micro_batch(run, named("8xL4", memory=only_sharded / 1e9))
        assert found
        assert found > 1

    def test_fsdp_where_it_does_not_work(self) -> None:
        with pytest.raises(UserError, match=r"^runtime.parallel: fsdp needs train.precision bf16 or fp32"):
            planned(workload(runtime__parallel="fsdp"), named("2xT4"))


@settings(max_examples=40, deadline=None)
@given(
    share=st.floats(0.2, 1.2),
    processes=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([None, 1, 4]),
    parallel=st.sampled_from(["auto", "ddp", "fsdp"]),
    checkpointing=st.sampled_from(["auto", True, False]),
    here=st.booleans(),
)
def test_the_layout_is_what_training_chooses(
    share: float, processes: int, micro: int | None, parallel: str, checkpointing: str | bool, here: bool
) -> None:
    asked = {"runtime__parallel": parallel, "runtime__activation_checkpointing": checkpointing}
    run = workload(train__batch_size=32, train__micro_batch_size=micro, **asked)
    cluster = find_cluster(f"{processes}xL4")
    free = round(share * memory_of(run, NamedTarget(cluster), sequences_of(run, processes), DDP).total)
    gpu = dataclasses.replace(cluster.device, memory=(free + 1e9) / 1e9)
    named = NamedTarget(dataclasses.replace(cluster, device=gpu))
    target = LocalTarget(tiny.FP32_ON_CPU, processes, probing=False) if here else named
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_layout, "free_bytes", lambda device: processes * free if here else free)
        patch.setenv("LOCAL_WORLD_SIZE", str(processes))
        world, hardware = Alike(0, processes), target.hardware_for(run)
        trained = resolve_layout(run.model, run.vocab_size, run.train, run.runtime, hardware, world)
        assert choose_layout(run, target, sequences_of(run, processes)).layout == trained


class Alike(World):
    """A world whose processes all find the same."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return self.size * values


class TestThisMachine:
    def test_several_machines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hosts = {"runtime__launcher": "torchrun", "runtime__hosts": 3, "runtime__rendezvous": "10.0.0.1:29400"}
        here = {"runtime__processes": 2, "runtime__device": "cpu", "runtime__threads": 1, "train__batch_size": 12}
        target = local_target(workload(**here, **hosts), False, 5e8)
        assert target.devices == 6
        assert target.name.endswith(", 1 CPU threads for each of 2 processes, and 2 more like it")
        assert target.exchange(workload(**here), DDP).links == Links(6, 3, targets.LOOPBACK[False], 5e8)
        faster = dataclasses.replace(target, network=12.5e9).exchange(workload(**here), DDP).links
        assert faster == Links(6, 3, targets.LOOPBACK[False], targets.LOOPBACK[False])  # gloo is no faster
        with pytest.raises(UserError, match=r"^--network: expected with several machines only, got one"):
            local_target(workload(**here), False, 2e9)
        slurm = workload(**here, runtime__launcher="slurm")
        monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
        assert local_target(slurm, False).devices == 4
        monkeypatch.delenv("SLURM_JOB_NUM_NODES")
        with pytest.raises(UserError, match=r"^runtime.hosts: null takes all nodes of a Slurm job, and this is none"):
            local_target(slurm, False)

    def test_communication_is_added_to_what_was_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = workload(train__batch_size=64)
        monkeypatch.setattr(targets, "probe", lambda *_: Speed(20_000.0, "measured"))
        target = LocalTarget(tiny.FP32_ON_CPU, 2, probing=True, compiled=False)
        speed, sending = target.speed(run, DDP), target.exchange(run, DDP).seconds
        assert sending == 4 * 1_316_480 / targets.LOOPBACK[False]
        assert 64 * 256 / speed.tokens_per_second == pytest.approx(64 * 256 / 20_000 + sending)
        assert speed.alone == 10_000
        assert target.exchange(run, FSDP).links == Links(2, 1, targets.LOOPBACK[True], targets.LOOPBACK[True])
        assert speed.source == "measured, and a model of their communication"
        unknown = LocalTarget(Hardware(torch.device("mps"), "fp32", 1), 2, probing=True, compiled=False)
        assert unknown.speed(run, DDP) == Speed(20_000.0, "measured, their communication left out")
        found = planned(run, unknown)
        assert found.efficiency is None
        assert "sent by each device in a step, in a time that is not known" in "\n".join(lines(found, ""))

    def test_only_processes_of_this_machine_are_measured_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []
        monkeypatch.setattr(targets, "probe", lambda *given: asked.extend(given[3:]) or Speed(20_000.0, "measured"))
        target = LocalTarget(tiny.FP32_ON_CPU, 2, probing=True, compiled=False, hosts=3)
        target.speed(workload(train__batch_size=12), DDP)
        assert asked == [6, False, 2]  # processes that share a batch, checkpointing, processes here

    def test_the_memory_on_a_cpu_is_that_of_the_log(self) -> None:
        from tinylm.train.setup.memory import step_bytes

        run = workload(model__width=32, model__heads=1, model__layers=1)
        model = tiny.Transformer(run.model, run.vocab_size)
        target = LocalTarget(tiny.FP32_ON_CPU, 1, probing=False)
        assert memory_of(run, target, 3, Layout()).total == step_bytes(model.train(), 3)
        assert target.watts is None

    def test_without_a_probe(self) -> None:
        run, fp32 = workload(), LocalTarget(tiny.FP32_ON_CPU, 1, probing=False, compiled=False)
        bf16 = LocalTarget(Hardware(torch.device("cpu"), "bf16", 2), 1, probing=False, compiled=False)
        assert bf16.speed(run, Layout()).tokens_per_second == 4 * fp32.speed(run, Layout()).tokens_per_second
        assert fp32.speed(run, Layout()).tokens_per_second == pytest.approx(95e9 / 2 / run.flop_per_token)
        assert "not a measurement" in fp32.speed(run, Layout()).source
        assert fp32.rough_speed(run) == fp32.speed(run, Layout()).tokens_per_second

    def test_a_gpu_of_the_table_without_a_probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
        target = LocalTarget(Hardware(torch.device("cuda", 0), "fp16", 1), 1, probing=False)
        monkeypatch.setattr(targets, "resolve_compile", lambda *_: True)
        assert target.speed(workload(), Layout()) == T4.speed(workload(), Layout())
        assert target.watts == 70
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce GTX 1080")
        with pytest.raises(UserError, match=r"^--no-probe: there is no model of NVIDIA GeForce GTX 1080; leave it out"):
            target.speed(workload(), Layout())

    def test_what_was_measured_serves_for_other_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flops = iter((1e9, 4e9))
        probed: list[Workload] = []

        def probe(run: Workload, *_: object) -> Speed:
            probed.append(run)
            return Speed(next(flops) / run.flop_per_token, "")

        monkeypatch.setattr(targets, "probe", probe)
        target = LocalTarget(tiny.FP32_ON_CPU, 1, probing=True, compiled=False)
        small, large = workload(), workload(model__width=256, model__layers=8)
        assert target.rough_speed(small) * small.flop_per_token == pytest.approx(1e9)
        assert target.rough_speed(large) * large.flop_per_token == pytest.approx(1e9)
        assert len(probed) == 1
        target.speed(large, Layout())
        between = workload(model__width=192, model__layers=6)
        assert target.rough_speed(small) * small.flop_per_token == pytest.approx(1e9)
        assert target.rough_speed(large) * large.flop_per_token == pytest.approx(4e9)
        assert 1e9 < target.rough_speed(between) * between.flop_per_token < 4e9


def test_a_plan_beside_what_was_measured() -> None:
    found = planned()
    rows = list(compare("a", found, Measured(found.seconds / 2, found.memory.total * 2 + 2e8, None), 1e8))
    assert [row.error for row in rows] == [pytest.approx(1), pytest.approx(-0.5), None]
    assert table(rows) == [
        "| run | quantity | expected | measured | error |",
        "| --- | --- | ---: | ---: | ---: |",
        f"| a | time | {show(found.seconds)} | {show(found.seconds / 2)} | +100% |",
        "| a | memory | 0.4 GB | 0.8 GB | -50% |",
        "| a | bits per byte | not known | not known |  |",
    ]
