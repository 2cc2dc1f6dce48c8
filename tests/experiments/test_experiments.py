"""One change: which stages run again, and how its effect is shown, applied and kept."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.pipeline.test_pipeline import STAGES, hashes
from tests.support.browser import open_browser
from tests.support.clone import Clone, stages_run
from tests.support.tiny import ROOT

pytestmark = pytest.mark.slow


def changed_stages(clone: Clone) -> list[str]:
    """Return the stages that DVC would run again because of their own dependencies, not of another stage's outputs."""
    status = json.loads(clone.dvc("status", "--json"))
    return [stage for stage in STAGES if stage in status]


READ_BY = {  # a changed value, and the stages that read it; the report shows all values
    ("download.sample_stories", 390): ["download", "report"],
    ("train_tokenizer.vocab_size", 400): ["train_tokenizer", "report"],
    ("pretokenize.max_tokens", 20000): ["pretokenize", "report"],
    ("model.width", 16): ["train", "report"],
    ("train.peak_lr", "3e-4"): ["train", "report"],
    ("generate.temperature", 1.0): ["generate", "report"],
    ("evaluate.stride", 16): ["evaluate", "report"],
    ("runtime.threads", 2): [],
}


def test_a_changed_parameter_reruns_the_stages_that_read_it(ran_clone: Clone) -> None:
    params = ran_clone.root / "params.yaml"
    before = params.read_text(encoding="utf-8")
    for (parameter, value), stages in READ_BY.items():
        ran_clone.set_params({parameter: value})
        assert changed_stages(ran_clone) == stages, parameter
        params.write_text(before, encoding="utf-8")


USED_BY = {  # a file, and the stages that use it
    "tinylm/base/errors.py": STAGES,
    "tinylm/compute/device.py": ["train", "generate", "evaluate"],
    "tinylm/scoring/windows.py": ["train", "evaluate"],
    "tinylm/download/cleaning.py": ["download"],
    "tinylm/train_tokenizer/training.py": ["train_tokenizer"],
    "tinylm/pretokenize/encoding.py": ["pretokenize"],
    "tinylm/train/step.py": ["train"],
    "tinylm/model/transformer.py": ["train", "generate", "evaluate", "report"],
    "tinylm/sampling/generation.py": ["generate"],
    "tinylm/generate/metrics/lexical.py": ["generate"],
    "tinylm/evaluate/score.py": ["evaluate"],
    "tinylm/report/static/page.css": ["report"],
    "tinylm/experiments/significance.py": [],
    "tinylm/housekeeping/disk.py": [],
    "tinylm/serve/server.py": [],
    "tinylm/cli/summary.py": [],
    "README.md": [],
    "tests/support/tiny.py": [],
}


def test_a_changed_file_reruns_the_stages_that_use_it(ran_clone: Clone) -> None:
    for name, stages in USED_BY.items():
        file = ran_clone.root / name
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert changed_stages(ran_clone) == stages, name
        file.write_bytes(before)


def test_a_new_file_in_a_room_is_a_change_and_an_editors_is_none(ran_clone: Clone) -> None:
    for name, stages in {".step.py.swp": [], "step.py~": [], "__pycache__/x.pyc": [], "new.py": ["train"]}.items():
        file = ran_clone.root / "tinylm/train" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"1")
        assert changed_stages(ran_clone) == stages, name
        file.unlink()


def test_a_change_that_leaves_a_stages_outputs_unchanged_stops_there(ran_clone: Clone) -> None:
    with (ran_clone.root / "tinylm/pretokenize/encoding.py").open("a", encoding="utf-8") as code:
        code.write("\n# more\n")
    assert stages_run(ran_clone.dvc("repro")) == ["pretokenize"]


@pytest.mark.parametrize("preset", ["walkthrough", "four_hour", "frontier"])
def test_a_preset_can_be_compared_and_changed_and_keeps_its_comments(ran_clone: Clone, preset: str) -> None:
    params, file = ran_clone.root / "params.yaml", ran_clone.root / f"presets/{preset}.yaml"
    shutil.copy(file, params)
    changes = json.loads(ran_clone.dvc("params", "diff", "--json"))["params.yaml"]
    assert changes["model.width"]["new"] == yaml.safe_load(file.read_text(encoding="utf-8"))["model"]["width"]
    ran_clone.dvc("exp", "run", "--queue", "-S", "train.peak_lr=0.0123")
    queued = ran_clone.git("show", "refs/exps/celery/stash:params.yaml")
    ran_clone.dvc("queue", "remove", "--queued")
    assert yaml.safe_load(queued)["train"]["peak_lr"] == 0.0123
    assert yaml.safe_load(queued)["model"] == yaml.safe_load(file.read_text(encoding="utf-8"))["model"]
    assert comments(queued) == comments(file.read_text(encoding="utf-8"))


def comments(text: str) -> list[str]:
    found = re.findall("#.*", text)
    assert len(found) > 50
    return found


def run_experiment(clone: Clone, name: str, rate: str) -> None:
    """Put the experiment into the workspace, up to its score; it runs once for all tests of this file."""
    if name in clone.dvc("exp", "list", "--name-only").split():
        clone.dvc("exp", "apply", name)
    else:
        clone.dvc("exp", "run", "--name", name, "-S", f"train.peak_lr={rate}", "evaluate")


def test_the_table_of_experiments_is_readable(ran_clone: Clone) -> None:
    run_experiment(ran_clone, "slower", "3e-4")
    ran_clone.git("checkout", "--quiet", "--force", "main")
    ran_clone.dvc("checkout", "--quiet")
    page = (ROOT / "docs/how-to/experiments.md").read_text(encoding="utf-8")
    command = next(
        shlex.split(line) for line in page.splitlines() if line.startswith("dvc exp show ") and "--drop" in line
    )
    header, _, *lines = ran_clone.dvc(*command[1:], "--md", "--no-pager").strip().splitlines()
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert {"Experiment", "bits_per_byte", "perplexity", "train.peak_lr"} <= set(columns)
    assert len(columns) <= 8
    assert any("slower" in line for line in lines)


def test_an_experiment_can_be_shown_compared_applied_and_branched(ran_clone: Clone) -> None:
    run_experiment(ran_clone, "slower", "3e-4")
    model = hashes(ran_clone)["artifacts/model/model.safetensors"]
    ran_clone.git("checkout", "--quiet", "--force", "main")
    ran_clone.dvc("checkout", "--quiet")
    assert hashes(ran_clone)["artifacts/model/model.safetensors"] != model

    shown = json.loads(ran_clone.dvc("exp", "show", "--json"))
    experiments = [experiment for entry in shown for experiment in entry["experiments"] or []]
    rows = {experiment["revs"][0]["name"]: experiment["revs"][0] for experiment in experiments}
    assert rows["slower"]["data"]["params"]["params.yaml"]["data"]["train"]["peak_lr"] == 3e-4
    diff = json.loads(ran_clone.dvc("metrics", "diff", "--json", "main", "slower"))["metrics/evaluate.json"]
    assert {"loss", "perplexity", "bits_per_byte", "accuracy"} < set(diff)
    assert diff["loss"]["diff"] != 0
    assert json.loads(ran_clone.dvc("params", "diff", "--json", "main", "slower")) == {
        "params.yaml": {"train.peak_lr": {"old": 0.02, "new": 3e-4, "diff": pytest.approx(3e-4 - 0.02)}}
    }

    ran_clone.dvc("exp", "branch", "slower", "kept")
    ran_clone.dvc("exp", "apply", "slower")
    assert hashes(ran_clone)["artifacts/model/model.safetensors"] == model
    ran_clone.git("checkout", "--quiet", "--force", "kept")
    ran_clone.dvc("checkout", "--quiet")
    assert hashes(ran_clone)["artifacts/model/model.safetensors"] == model
    assert stages_run(ran_clone.dvc("repro", "evaluate")) == []


def test_the_four_main_metrics_come_first(ran_clone: Clone) -> None:
    run_experiment(ran_clone, "slower", "3e-4")
    lines = ran_clone.dvc("metrics", "diff", "--targets", "metrics/evaluate.json").splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["accuracy", "bits_per_byte", "loss", "perplexity"]


def test_plots_of_two_experiments_need_no_network(ran_clone: Clone, tmp_path: Path) -> None:
    run_experiment(ran_clone, "slower", "3e-4")
    ran_clone.dvc("plots", "diff", "main", "slower", "--out", str(tmp_path / "comparison"))
    page = tmp_path / "comparison/index.html"
    text = page.read_text(encoding="utf-8")
    assert "https://cdn" not in text
    assert '"main"' in text
    assert '"slower"' in text
    with open_browser() as browser:
        browser.driver.get(page.as_uri())
        wait = WebDriverWait(browser.driver, 20)
        wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "canvas.marks, svg.marks")) > 10)
        assert all(url.startswith(("file:", "data:", "blob:")) for url in browser.requested_urls())
