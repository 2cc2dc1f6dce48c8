"""Every stage reports a user's mistake in one line, with an exit code, before any work."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import evaluate, generate
from tests.support import fork_server, tiny
from tests.support.tiny import ROOT
from tinylm.base.errors import UserError

STAGES = ("download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate", "report")


def run_stage(stage: str, folder: Path, params: str) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    command = [fork_server.python(), "-m", f"stages.{stage}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("stage", STAGES)
def test_mistakes_in_params_stop_every_stage_before_any_work(stage: str, tmp_path: Path) -> None:
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    broken = re.sub(r"  heads: \d+", "  heads: 5", params).replace("  steps: ", "  steps: -")
    broken = re.sub(r"  context: \d+", "  context: 64", broken)  # conflicts with another section
    done = run_stage(stage, tmp_path, broken)
    assert done.returncode == 1
    first, *mistakes = done.stderr.splitlines()
    assert first == "error: params.yaml has 3 mistakes:"
    found = zip(mistakes, ("generate.max_tokens: expected less", "model.heads: expected", "train.steps:"), strict=True)
    assert all(line.startswith(f"  {expected}") for line, expected in found)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


@pytest.mark.parametrize("stage", ["download", "report"])
def test_values_that_do_not_fit_their_files_stop_every_stage_before_any_work(stage: str, tmp_path: Path) -> None:
    params = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("init_from: null", "init_from: nowhere")
    done = run_stage(stage, tmp_path, params)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml has 1 mistake: train.init_from: expected a model folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_without_its_inputs_says_what_is_missing(stage: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    done = run_stage(stage, tmp_path, (ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: artifacts/")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_out_of_memory_names_the_parameter_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(evaluate, "open_tokens", lambda *_: SimpleNamespace(val=None, end_of_text=0))
    monkeypatch.setattr(evaluate, "load_model", lambda *_: tiny.make_model())
    monkeypatch.setattr(evaluate, "score_split", fail)
    monkeypatch.setattr(generate, "generate_and_judge", fail)
    with pytest.raises(UserError, match=r"^out of memory.*; lower evaluate\.batch_size \(\d+\)$"):
        evaluate.main(tiny.PARAMS)
    with pytest.raises(UserError, match=r"^out of memory.*; lower generate\.judged_stories or generate\.stories_per"):
        generate.main(tiny.PARAMS)
