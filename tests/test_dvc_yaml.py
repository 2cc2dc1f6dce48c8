"""dvc.yaml says exactly what each stage uses."""

from pathlib import Path

import pytest
import yaml

from tests.stage_imports import ROOT, imported_files, sections_read
from tinylm.params import read_params, section_classes

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
NAMES = ("download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate")


def test_the_stages_are_those_of_the_design() -> None:
    assert tuple(STAGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_name_everywhere(name: str) -> None:
    stage = STAGES[name]
    assert stage["cmd"] == f"python -m stages.{name}"
    assert (ROOT / "stages" / f"{name}.py").is_file()
    assert name in section_classes()
    assert any(f"metrics/{name}.json" in metric for metric in stage["metrics"])


@pytest.mark.parametrize("name", NAMES)
def test_deps_are_the_imports(name: str) -> None:
    code = {dep for dep in STAGES[name]["deps"] if dep.endswith(".py")}
    assert sorted(code) == sorted(imported_files(f"stages.{name}"))


@pytest.mark.parametrize("name", NAMES)
def test_params_are_those_read(name: str) -> None:
    assert set(STAGES[name]["params"]) == sections_read(f"stages.{name}") - {"runtime"}


@pytest.mark.parametrize("name", NAMES)
def test_metrics_and_plots_are_kept_in_git_and_not_in_the_cache(name: str) -> None:
    for output in [*STAGES[name]["metrics"], *STAGES[name].get("plots", [])]:
        assert [options["cache"] for options in output.values()] == [False]


def test_every_output_of_a_stage_that_others_read_is_a_dep_there() -> None:
    outs = {out for stage in STAGES.values() for out in stage.get("outs", [])}
    deps = {dep for stage in STAGES.values() for dep in stage["deps"] if not dep.endswith(".py")}
    assert deps <= outs


@pytest.mark.parametrize("preset", sorted(path.name for path in (ROOT / "presets").glob("*.yaml")))
def test_presets_are_complete_parameter_files(preset: str) -> None:
    read_params(ROOT / "presets" / preset)
    assert _keys(ROOT / "presets" / preset) == _keys(ROOT / "params.yaml")


def test_the_presets_of_the_design_are_there() -> None:
    assert {path.stem for path in (ROOT / "presets").glob("*.yaml")} >= {"four_hour", "walkthrough", "frontier"}


def test_every_value_has_a_line_of_meaning() -> None:
    for file in [ROOT / "params.yaml", *(ROOT / "presets").glob("*.yaml")]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("  ") and not line.startswith("  -"):
                assert "#" in line, f"{file.name}: {line}"


def _keys(path: Path) -> list[tuple[str, list[str]]]:
    return [(name, list(section)) for name, section in yaml.safe_load(path.read_text(encoding="utf-8")).items()]
