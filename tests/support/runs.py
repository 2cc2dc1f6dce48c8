"""Runs in a git repository, without DVC: their files are written and not computed."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import report_data
from tests.support.tiny import PARAMS

ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "PYTEST_"))}
NAMES = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
TOKENS = 256  # of a step
STEPS = (1, 4, 8, 12)  # of the rows of plots/train.csv
VALIDATIONS = {0: 4.0, 6: 3.0, 12: 2.0}  # losses by step


class Runs:
    """A repository at `root`; each experiment is a commit with the files of its run, as DVC keeps it."""

    def __init__(self, root: Path):
        self.root = root
        self.git("init", "--quiet")
        self.git("commit", "--quiet", "--allow-empty", "--message", "start")
        self.start = self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        environ = ENVIRON | NAMES | {"GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(("git", *words), cwd=self.root, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        report_data.write(self.root / name, text)

    def run(self, factor: float = 1.0, speed: float = 256.0, lossy: bool = False, **hashes: Any) -> None:
        """Write the curves of a run to the workspace: losses times `factor`, at `speed` [tokens/s]."""
        train, val, rates = [], [], []
        for step in STEPS:
            loss = factor * 10 / step
            train.append(f"{step},{step * TOKENS},{loss},{'' if lossy else loss / 2},0.001,0.5")
            rates.append(f"{step},{speed / (4 if step == 1 else 1)},50")  # the first step compiles
        for step, loss in VALIDATIONS.items():
            val.append(f"{step},{step * TOKENS},{factor * loss},{'' if lossy else factor * loss / 2}")
        self.write("plots/train.csv", _csv("step,tokens,loss,bits_per_byte,learning_rate,grad_norm", train))
        self.write("plots/val.csv", _csv("step,tokens,loss,bits_per_byte", val))
        self.write("plots/speed.csv", _csv("step,tokens_per_second,memory_mb", rates))
        self.write("dvc.lock", json.dumps({"schema": "2.0", "stages": _lock(**hashes)}))

    def commit(self, name: str) -> str:
        """Commit the workspace as the experiment `name` of the first commit, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", name)
        commit = self.git("rev-parse", "HEAD")
        self.git("update-ref", f"refs/exps/{self.start[:2]}/{self.start[2:]}/{name}", commit)
        self.git("reset", "--quiet", "--soft", self.start)
        return commit


def _lock(corpus: str = "c1", tokenizer: str = "t1", val_stories: int = 8) -> dict[str, Any]:
    """Return the stages of dvc.lock, with the sections of parameters in DVC's order."""
    names = ("download", "evaluate", "generate", "model", "pretokenize", "train", "train_tokenizer")
    return {
        "download": {"outs": [{"path": "artifacts/corpus", "md5": corpus}]},
        "train_tokenizer": {"outs": [{"path": "artifacts/tokenizer", "md5": tokenizer}]},
        "train": {"params": {"params.yaml": {"train": {"val_stories": val_stories}}}},
        "report": {"params": {"params.yaml": PARAMS.values(*names)}},
    }


def _csv(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows, ""])
