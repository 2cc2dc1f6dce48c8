"""`tinylm plan`: its three ways of use, and one line for each mistake."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from tests.planning.test_law import write_law
from tests.support.planning import LAW, QUICK, Experiments
from tests.support.tiny import ROOT
from tinylm.base.params import read_params
from tinylm.cli.main import main
from tinylm.planning import targets
from tinylm.planning.probe import Speed
from tinylm.train.sharding.layout import Layout


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with params.yaml and the recipe, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "presets/quick.yaml").read_text(encoding="utf-8")
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/quick.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(targets, "probe", lambda run, *_: Speed(1e10 / run.flop_per_token, "measured"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_a_parameter_file(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, "presets/quick.yaml", "--device", "2xT4", "--price", "2")
    assert said.startswith("device          2xT4\nparameters      1,316,480: ")
    assert said.splitlines()[-1].startswith("bits per byte   not known: there is no law for tinystories v1 in scaling/")
    write_law(Path("scaling"))
    assert " by scaling/stories.json; extrapolated: 1.54" in shown(capsys, "presets/quick.yaml", "--device", "t4")
    assert "there is no law for sample in" in shown(capsys, "--device", "t4")  # params.yaml


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "--json"))
    assert found["speed_source"] == "measured"
    assert found["tokens_per_second"] == pytest.approx(1e10 * found["tokens"] / found["flop"])
    assert "a rough model of a CPU" in shown(capsys, "--no-probe")


def test_a_budget_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, "--hours", "4", "--device", "t4")
    command = said.splitlines()[-1]
    assert command.startswith("dvc exp run --set-param download.source=tinystories --set-param ")
    assert "runtime" not in command
    found = json.loads(shown(capsys, "--hours", "4", "--device", "t4", "--json"))
    assert found["command"] == command
    assert found["seconds"] == pytest.approx(4 * 3600, rel=0.02)


def test_a_budget_as_a_parameter_file(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    said = shown(capsys, "--hours", "1", "--device", "t4", "--write", "mine.yaml")
    assert said.endswith("\n\nmine.yaml\n")
    text = (place / "mine.yaml").read_text(encoding="utf-8")
    assert text.startswith(
        "# Chosen by `tinylm plan --hours 1` for T4, with the recipe of presets/quick.yaml.\ndownload:\n"
    )
    assert "  width: " in text
    assert " # size of the embedding and the residual stream\n" in text
    read_params(place / "mine.yaml")
    planned = shown(capsys, "mine.yaml", "--device", "t4")
    assert planned.splitlines() == said.splitlines()[:-2]


def test_a_budget_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinylm.cli.plan._print", lambda params, found, *_, **more: print(found.seconds))
    assert float(shown(capsys, "--hours", "2").splitlines()[0]) == pytest.approx(7200, rel=0.02)


def test_plans_beside_what_was_measured(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinylm.planning.checking.bare_process", lambda: (5e12, 7e12))
    write_law(place / "scaling")
    experiments = Experiments(place)
    experiments.add("a", QUICK, 6_144_000, 0.9)
    experiments.add("b", QUICK, 6_144_000, None, device="cuda", device_name="Tesla T4", precision="fp16")
    rows = [
        line.removeprefix("| ").removesuffix(" |").split(" | ")
        for line in shown(capsys, "--check", "a", "b").splitlines()[2:]
    ]
    assert [row[:2] for row in rows] == [[n, q] for n in "ab" for q in ("time", "memory", "bits per byte")]
    flop = 6_144_000 + 7 * 128 * 225 * 2 / 3
    content = json.loads(shown(capsys, "--check", "a", "--json"))
    time, memory, bits = content
    run_flop = json.loads(shown(capsys, "presets/quick.yaml", "--json"))
    assert time["expected"] == pytest.approx(flop * run_flop["flop"] / run_flop["tokens"] / 1e10)
    assert time["measured"] == 90
    assert memory["measured"] == 600e6
    assert memory["expected"] == pytest.approx(5e12, rel=0.01)
    assert rows[4][2] == "0.3 GB"  # a GPU's memory has no process in it
    assert bits["expected"] == pytest.approx(LAW.predict(792_192, 6_144_000), rel=0.01)
    assert bits["error"] == bits["expected"] / 0.9 - 1
    assert rows[5][3:] == ["not known", ""]


def test_a_finished_run_is_planned_with_the_layout_that_it_had(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = []
    monkeypatch.setattr("tinylm.planning.checking.bare_process", lambda: (0.0, 0.0))
    monkeypatch.setattr(targets, "choose", lambda runtime, *_: layouts.append(runtime) or Layout())
    experiments = Experiments(place)
    experiments.add("a", QUICK, 1, 0.9, processes=2, parallel="fsdp", activation_checkpointing=False)
    experiments.add("b", QUICK, 1, 0.9, parallel=None, activation_checkpointing=True)
    assert main(["plan", "--check", "a", "b"]) == 0
    assert [(r.parallel, r.activation_checkpointing) for r in layouts] == [("fsdp", False), ("auto", True)]


def test_several_machines(capsys: pytest.CaptureFixture[str]) -> None:
    words = "presets/quick.yaml", "--device", "2x2xH100"
    assert "at 12.5 GB/s between machines" in shown(capsys, *words)
    assert "at 50 GB/s between machines" in shown(capsys, *words, "--network", "400")
    found = json.loads(shown(capsys, *words, "--json"))
    assert (found["devices"], found["parallel"]) == (4, "ddp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--device tpu", "--device: 'tpu' is not known; known are T4,"),
        ("--hours 0.0001 --device t4", "--hours: too little on T4"),
        ("--hours 0", "--hours: expected more than 0 and at most 100,000, got 0"),
        ("--hours nan", "--hours: expected more than 0"),
        ("--price -1", "--price: expected more than 0"),
        ("--network 0", "--network: expected more than 0"),
        ("--network 100", "--network: expected with several machines only, got one; set runtime.hosts"),
        ("--network 100 --device 8xT4", "--network: expected with several machines only, got '8xT4'"),
        ("--network 100 --check a", "--check: expected experiments and no other run"),
        ("--write x.yaml", "--write: expected with --hours only"),
        ("--check a --hours 2", "--check: expected experiments and no other run"),
        ("nowhere.yaml", "nowhere.yaml: not found"),
        ("--device 3xt4", "train.batch_size: expected a multiple of the 3 devices, got 16"),
        (
            "--hours 1 --device t4 --write .",
            "--write: expected the name of a file, got the folder .; name a file in it",
        ),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert main(["plan", *arguments.split()]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {message}")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_an_experiment_that_cannot_be_checked(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    experiments = Experiments(place)
    experiments.add("strange", QUICK, 1, 0.9, device="cuda", device_name="Voodoo 2")
    for name, message in (
        ("nope", "nope: neither an experiment nor a git revision"),
        ("strange", "strange: trained on Voodoo 2, which is neither here nor a known device"),
        ("HEAD", "HEAD: git show"),
    ):
        assert main(["plan", "--check", name]) == 1
        said = capsys.readouterr()
        assert said.err.startswith(f"error: {message}")
        assert len(said.err.splitlines()) == 1


def test_the_preset_is_the_recipe() -> None:
    assert yaml.safe_load(Path("presets/quick.yaml").read_text(encoding="utf-8")) == QUICK
