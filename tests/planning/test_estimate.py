"""An estimate: its arithmetic, its limits, and what does not fit."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.planning.test_law import write_law
from tests.support import tiny
from tests.support.planning import LAW, quick, workload
from tinylm.base.durations import show
from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware
from tinylm.planning import targets
from tinylm.planning.checking import Measured, compare, table
from tinylm.planning.devices import Machine, find_machine
from tinylm.planning.estimate import Estimate, estimate, largest_micro_batch
from tinylm.planning.law import find_law
from tinylm.planning.lines import lines
from tinylm.planning.probe import Speed
from tinylm.planning.targets import LocalTarget, NamedTarget
from tinylm.planning.workload import Workload

T4 = NamedTarget(find_machine("T4"))


def named(text: str = "T4", **changes: Any) -> NamedTarget:
    machine = find_machine(text)
    return NamedTarget(Machine(dataclasses.replace(machine.device, **changes), machine.count))


def planned(run: Workload | None = None, target: NamedTarget = T4, **more: Any) -> Estimate:
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
    run, small = workload(train__batch_size=64), named(memory=1.35)
    with pytest.raises(UserError) as raised:
        planned(run, small)
    fitting = largest_micro_batch(run, small)
    assert fitting in (1, 2, 4, 8, 16, 32)
    assert str(raised.value) == (
        f"T4: training with 64 sequences in memory at once takes about 1.4 GB, and 0.3 GB are there; "
        f"train.micro_batch_size: {fitting} fits, and changes nothing else"
    )
    planned(workload(train__batch_size=64, train__micro_batch_size=fitting), small)
    with pytest.raises(UserError):
        planned(workload(train__batch_size=64, train__micro_batch_size=2 * fitting), small)
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


class TestThisMachine:
    def test_the_memory_on_a_cpu_is_that_of_the_log(self) -> None:
        from tinylm.train.setup.memory import step_bytes

        run = workload(model__width=32, model__heads=1, model__layers=1)
        model = tiny.Transformer(run.model, run.vocab_size)
        target = LocalTarget(tiny.FP32_ON_CPU, 1, probing=False)
        assert target.memory(run, 3).total == step_bytes(model.train(), 3)
        assert target.watts is None

    def test_without_a_probe(self) -> None:
        run, fp32 = workload(), LocalTarget(tiny.FP32_ON_CPU, 1, probing=False, compiled=False)
        bf16 = LocalTarget(Hardware(torch.device("cpu"), "bf16", 2), 1, probing=False, compiled=False)
        assert bf16.speed(run).tokens_per_second == 4 * fp32.speed(run).tokens_per_second
        assert fp32.speed(run).tokens_per_second == pytest.approx(95e9 / 2 / run.flop_per_token)
        assert "not a measurement" in fp32.speed(run).source
        assert fp32.rough_speed(run) == fp32.speed(run).tokens_per_second

    def test_a_gpu_of_the_table_without_a_probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
        target = LocalTarget(Hardware(torch.device("cuda", 0), "fp16", 1), 1, probing=False)
        monkeypatch.setattr(targets, "resolve_compile", lambda *_: True)
        assert target.speed(workload()) == T4.speed(workload())
        assert target.watts == 70
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce GTX 1080")
        with pytest.raises(UserError, match=r"^--no-probe: there is no model of NVIDIA GeForce GTX 1080; leave it out"):
            target.speed(workload())

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
        target.speed(large)
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
