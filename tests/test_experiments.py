"""One change: what runs again for it, and how its effect is seen, applied and kept."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import open_browser
from tests.clone import Clone, stages_run
from tests.test_pipeline import STAGES, hashes

pytestmark = pytest.mark.slow

FROM = {stage: STAGES[place:] for place, stage in enumerate(STAGES)}  # a stage and what comes after it
AFTER_EVALUATE = ["evaluate", "report"]
AFTER_GENERATE = ["generate", "report"]


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("download.sample_stories=390", FROM["download"]),
        ("train_tokenizer.vocab_size=400", FROM["train_tokenizer"]),
        ("pretokenize.max_tokens=20000", FROM["pretokenize"]),
        ("model.width=16", FROM["train"]),
        ("train.peak_lr=3e-4", FROM["train"]),
        ("generate.temperature=1.0", AFTER_GENERATE),
        ("evaluate.stride=16", AFTER_EVALUATE),
        ("runtime.threads=2", []),
    ],
)
def test_a_changed_parameter_reruns_what_depends_on_it(ran_clone: Clone, change: str, stages: list[str]) -> None:
    assert stages_run(ran_clone.dvc("exp", "run", "-S", change)) == stages
    changes = json.loads(ran_clone.dvc("params", "diff", "--json"))
    assert list(changes["params.yaml"]) == [change.split("=")[0]]


@pytest.mark.parametrize(
    ("file", "stages"),
    [  # what such a change leaves as it was, stops there
        ("tinylm/corpus/cleaning.py", ["download"]),
        ("tinylm/tokenizer_training.py", ["train_tokenizer"]),
        ("tinylm/encoding.py", ["pretokenize"]),
        ("tinylm/trainer.py", ["train"]),
        ("tinylm/model.py", ["train", "generate", "evaluate"]),
        ("tinylm/generation.py", ["generate"]),
        ("tinylm/judging/figures.py", ["generate"]),
        ("tinylm/evaluation.py", ["evaluate"]),
        ("tinylm/report/page.css", ["report"]),
        ("tinylm/summary.py", []),
        ("README.md", []),
        ("tests/tiny.py", []),
    ],
)
def test_a_changed_file_reruns_the_stages_that_use_it(ran_clone: Clone, file: str, stages: list[str]) -> None:
    with open(ran_clone.root / file, "a", encoding="utf-8") as code:
        code.write("/* more */\n" if file.endswith(".css") else "\n# more\n")
    assert stages_run(ran_clone.dvc("repro")) == stages


@pytest.mark.parametrize("preset", ["walkthrough", "four_hour", "frontier"])
def test_a_preset_is_compared_and_changed_and_keeps_its_comments(ran_clone: Clone, preset: str) -> None:
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


def test_an_experiment_is_shown_compared_applied_and_branched(ran_clone: Clone) -> None:
    ran_clone.dvc("exp", "run", "--name", "slower", "-S", "train.peak_lr=3e-4")
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
    assert stages_run(ran_clone.dvc("repro")) == []


def test_the_four_main_figures_are_at_the_top(ran_clone: Clone) -> None:
    ran_clone.dvc("exp", "run", "-S", "train.peak_lr=2e-3")
    lines = ran_clone.dvc("metrics", "diff", "--targets", "metrics/evaluate.json").splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["accuracy", "bits_per_byte", "loss", "perplexity"]


def test_plots_of_two_experiments_need_no_network(ran_clone: Clone, tmp_path: Path) -> None:
    ran_clone.dvc("exp", "run", "--name", "one", "-S", "train.peak_lr=1e-3")
    ran_clone.dvc("exp", "run", "--name", "two", "-S", "train.peak_lr=5e-3")
    ran_clone.dvc("plots", "diff", "one", "two", "--out", str(tmp_path / "comparison"))
    page = tmp_path / "comparison/index.html"
    text = page.read_text(encoding="utf-8")
    assert "https://cdn" not in text
    assert '"one"' in text
    assert '"two"' in text
    with open_browser() as browser:
        browser.driver.get(page.as_uri())
        wait = WebDriverWait(browser.driver, 20)
        wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "canvas.marks, svg.marks")) > 10)
        assert all(url.startswith(("file:", "data:", "blob:")) for url in browser.requested_urls())
