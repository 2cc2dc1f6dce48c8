"""All stages through DVC, in a fresh clone, as described in the README."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import tiny
from tests.support.clone import Clone, committed, stages_run
from tinylm.base import atomic

MEASURING = ["download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate"]
STAGES = [*MEASURING, "report"]

pytestmark = pytest.mark.slow


def hashes(clone: Clone) -> dict[str, str]:
    files = [path for folder in ("artifacts", "metrics", "plots") for path in (clone.root / folder).rglob("*.*")]
    return {
        str(path.relative_to(clone.root)): atomic.sha256(path)
        for path in files
        if path.is_file() and not path.name.startswith("speed.")
    }


def test_the_pipeline_produces_a_model_and_its_stories(ran_clone: Clone) -> None:
    model = AutoModelForCausalLM.from_pretrained(ran_clone.root / "artifacts/model")
    tokenizer = AutoTokenizer.from_pretrained(ran_clone.root / "artifacts/model")
    ids = tokenizer("Once upon a time", return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    stories = (ran_clone.root / "artifacts/stories/stories.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(stories) == 5 * 2 * 3
    assert "### Step 6" in (ran_clone.root / "artifacts/stories/progress.md").read_text(encoding="utf-8")
    for stage in MEASURING:
        assert json.loads((ran_clone.root / "metrics" / f"{stage}.json").read_text())


def test_the_pipeline_produces_a_report(ran_clone: Clone) -> None:
    page = (ran_clone.root / "plots/report.html").read_text(encoding="utf-8")
    assert "the last committed run whose score differs" in page  # this repository's own score, in the first commit
    assert page.count("data-chart=") > 2


def test_a_second_run_has_nothing_to_do(ran_clone: Clone) -> None:
    output = ran_clone.dvc("repro")
    assert stages_run(output) == []
    assert "up to date" in output
    assert ran_clone.git("status", "--porcelain") == ""


def test_runtime_settings_rerun_nothing(ran_clone: Clone) -> None:
    ran_clone.set_params({"runtime.threads": 2, "runtime.sample_every": 5, "runtime.device": "cpu"})
    assert stages_run(ran_clone.dvc("repro")) == []


def test_the_names_of_artifacts_rerun_nothing(ran_clone: Clone) -> None:
    pipeline = ran_clone.root / "dvc.yaml"
    text, count = re.subn(r"(?m)^artifacts:\n(  .*\n)+", "", pipeline.read_text(encoding="utf-8"))
    assert count == 1
    pipeline.write_text(text, encoding="utf-8")
    assert "up to date" in ran_clone.dvc("status")


def test_lost_outputs_are_restored_from_the_cache(ran_clone: Clone) -> None:
    before = hashes(ran_clone)
    (ran_clone.root / "artifacts/model/model.safetensors").unlink()
    assert stages_run(ran_clone.dvc("repro")) == []
    assert hashes(ran_clone) == before


def test_a_temporary_experiment_gives_the_same_bytes(ran_clone: Clone) -> None:
    """The change does not affect `train`, which is forced to run."""
    command = ("exp", "run", "--temp", "--force", "--single-item", "--name", "elsewhere")
    assert stages_run(ran_clone.dvc(*command, "-S", "generate.temperature=0.5", "train")) == ["train"]
    locks = [ran_clone.git("show", f"{revision}:dvc.lock") for revision in ("main", committed(ran_clone, "elsewhere"))]
    here, elsewhere = (yaml.safe_load(lock)["stages"]["train"] for lock in locks)
    assert outputs(here) == outputs(elsewhere)
    assert len(outputs(here)) > 3


def outputs(stage: dict[str, Any]) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in stage["outs"] if "/speed." not in out["path"]}


def test_running_all_again_gives_the_same_bytes(ran_clone: Clone) -> None:
    """With real processes, as for a user; in the first run they were forked."""
    before = hashes(ran_clone)
    assert stages_run(ran_clone.real().dvc("repro", "--force")) == STAGES
    assert hashes(ran_clone) == before
    assert len(before) > 25


def test_own_files(ran_clone: Clone, tmp_path: Path) -> None:
    text = "\n<|endoftext|>\n".join(tiny.stories(300))
    (ran_clone.root.parent / "own.txt").write_text(text, encoding="utf-8")
    (tmp_path / "val.txt").write_text("\n<|endoftext|>\n".join(tiny.stories(320)[300:]), encoding="utf-8")
    changes = ["download.source=files", "download.paths=[../own.txt]", f"download.val_paths=[{tmp_path / 'val.txt'}]"]
    changes.append("train_tokenizer.vocab_size=300")
    for mode in ([], ["--temp"]):
        output = ran_clone.dvc("exp", "run", *mode, *(word for change in changes for word in ("-S", change)))
        assert stages_run(output) == (STAGES if not mode else [])  # the second time, they come from the run cache
        if not mode:
            changed = json.loads(ran_clone.dvc("params", "diff", "--json"))["params.yaml"]
            assert set(changed) == {change.partition("=")[0] for change in changes}
    metrics = json.loads((ran_clone.root / "metrics/download.json").read_text())
    assert metrics["source"] == "files"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.steps=many", "error: params.yaml has 1 mistake: train.steps: expected a whole number, got 'many'"),
        ("train_tokenizer.vocab_size=50000", "error: train_tokenizer.vocab_size: expected at most"),
        ("train.learning=1", "Could not override"),
    ],
)
def test_a_mistake_ends_the_run_in_one_line(ran_clone: Clone, change: str, message: str) -> None:
    output = ran_clone.fail("exp", "run", "-S", change)
    assert message in output
    assert "Traceback" not in output
