"""DVC sees the model folder that `train.init_from` names, and nothing where it is null."""

import subprocess
from pathlib import Path

import yaml

from tests.support.clone import environment
from tests.support.fork_server import commands
from tests.support.tiny import ROOT

DEPENDENCY = "${train.init_from}/"
PIPELINE = f"""stages:
  train:
    cmd: date +%s%N > out.txt
    deps:
    - {DEPENDENCY}
    params:
    - train
    outs:
    - out.txt
"""


class Repository:
    """A repository whose stage `train` has only the dependency that is tested."""

    def __init__(self, root: Path):
        self.root = root
        for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", "train:\n  init_from: null # x\n")):
            (root / name).write_text(text)
        for folder in ("None", "models/a"):
            (root / folder).mkdir(parents=True)
            (root / folder / "file").write_text(folder)
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        self.run("git", "config", "user.name", "A Test")
        self.run("git", "config", "user.email", "test@example.org")
        self.commit()

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.root, env=environment(commands()), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "x")

    def trains(self, *command: str) -> bool:
        """Return whether a DVC command runs the stage."""
        return "Running stage 'train'" in self.run("dvc", *command)


def test_train_depends_on_the_folder() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert [name for name, stage in stages.items() if DEPENDENCY in stage["deps"]] == ["train"]
    assert (ROOT / "None/README.md").is_file()  # null in the path


def test_a_changed_folder_trains_again(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("1")
    repository = Repository(root)
    assert repository.trains("repro")
    assert not repository.trains("repro")
    repository.commit()

    assert repository.trains("exp", "run", "-S", "train.init_from=models/a")
    assert not repository.trains("repro")
    (root / "models/a/weights").write_text("1")
    assert repository.trains("repro")
    (root / "models/a/weights").write_text("2")
    assert "models/a" in repository.run("dvc", "status")

    assert repository.trains("exp", "run", "-S", f"train.init_from={elsewhere}")
    (elsewhere / "weights").write_text("2")
    assert repository.trains("repro")
    assert repository.trains("exp", "run", "--temp", "--force", "-S", f"train.init_from={elsewhere}")

    repository.run("dvc", "exp", "run", "-S", "train.init_from=null")
    assert not repository.trains("repro")
