"""dvc.yaml lists exactly what each stage uses."""

import ast
import re
from typing import Any

import grimp
import pytest
import yaml
from dvc.repo.artifacts import check_name_format

from tests.support.tiny import ROOT
from tinylm.base.params import section_classes
from tinylm.report.run import SECTIONS

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
MEASURING = ("download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate")  # with parameters
NAMES = (*MEASURING, "report")
IMPORTS = grimp.build_graph("tinylm", "stages")


def test_the_stages_are_those_of_the_design() -> None:
    assert tuple(STAGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_has_one_name_everywhere(name: str) -> None:
    stage = STAGES[name]
    assert stage["cmd"] == f"python -m stages.{name}"
    assert (ROOT / "stages" / f"{name}.py").is_file()


@pytest.mark.parametrize("name", MEASURING)
def test_a_stage_that_measures_has_parameters_and_metrics_of_its_name(name: str) -> None:
    assert name in section_classes()
    assert any(f"metrics/{name}.json" in metric for metric in STAGES[name]["metrics"])


@pytest.mark.parametrize("name", NAMES)
def test_deps_are_the_script_and_the_packages_that_it_imports(name: str) -> None:
    modules = IMPORTS.find_upstream_modules(f"stages.{name}")
    packages = {"/".join(module.split(".")[:2]) for module in modules if "." in module}
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith(("stages/", "tinylm/"))]
    assert sorted(code) == sorted({f"stages/{name}.py", *packages})


def test_the_top_level_package_has_no_code_that_a_stage_would_depend_on() -> None:
    assert len(ast.parse((ROOT / "tinylm/__init__.py").read_text(encoding="utf-8")).body) == 1  # a docstring


@pytest.mark.parametrize("name", NAMES)
def test_params_are_those_read(name: str) -> None:
    imported = IMPORTS.find_modules_directly_imported_by(f"stages.{name}")
    read = {module.split(".")[1] for module in imported if module.endswith(".params")} - {"base"}
    assert set(STAGES[name]["params"]) == (set(SECTIONS) if name == "report" else read)


@pytest.mark.parametrize("name", NAMES)
def test_metrics_and_plots_are_kept_in_git_and_not_in_the_cache(name: str) -> None:
    for output in [*STAGES[name].get("metrics", []), *STAGES[name].get("plots", [])]:
        assert [options["cache"] for options in output.values()] == [False]


def test_every_plot_has_a_title_and_labels_in_words() -> None:
    entries = [*PIPELINE["plots"], *(plot for stage in STAGES.values() for plot in stage.get("plots", []))]
    plots = {name: options for entry in entries if isinstance(entry, dict) for name, options in entry.items()}
    plots = {name: options for name, options in plots.items() if not name.endswith(".png")}
    assert len(plots) == 17
    for name, options in plots.items():
        assert {"title", "x", "y", "x_label", "y_label"} <= options.keys(), name
        assert not re.search("_", options["title"] + options["x_label"] + options["y_label"]), name


def test_every_output_of_a_stage_that_others_read_is_a_dep_there() -> None:
    assert {dep for stage in STAGES.values() for dep in _data(stage)} <= _outputs()


def test_the_report_depends_on_every_file_it_reads() -> None:
    read = set(re.findall(r'"((?:metrics|plots|artifacts)/[^"{]+)"', (ROOT / "tinylm/report/inputs.py").read_text()))
    # Outputs that are read: files, or folders that contain a file that is read.
    outputs = {output for output in _outputs() for path in read if f"{path}/".startswith(f"{output}/")}
    assert len(outputs) > 9
    assert set(_data(STAGES["report"])) == outputs


def test_an_artifact_is_an_output_and_has_a_name_that_a_registry_takes() -> None:
    assert PIPELINE["artifacts"]["model"]["type"] == "model"
    for name, artifact in PIPELINE["artifacts"].items():
        check_name_format(name)  # DVC itself only warns
        assert artifact["path"] in _outputs()


def test_dvc_yaml_is_short() -> None:
    assert sum(len(stage["deps"]) for stage in STAGES.values()) <= 72
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) < 320


def test_the_report_does_not_depend_on_timings() -> None:
    assert not [dep for dep in STAGES["report"]["deps"] if "speed" in dep]


def _outputs() -> set[str]:
    """Return all outputs of the stages."""
    lists = [stage.get(kind, []) for stage in STAGES.values() for kind in ("outs", "metrics", "plots")]
    return {
        name for outputs in lists for output in outputs for name in ([output] if isinstance(output, str) else output)
    }


def _data(stage: dict[str, Any]) -> list[str]:
    return [dep for dep in stage["deps"] if not dep.startswith(("stages/", "tinylm/", "${"))]
