"""Runs that follow a known scaling law, and experiments in git as DVC keeps them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.tiny import ROOT
from tinylm.base.params import Params, check
from tinylm.planning.fit import Point
from tinylm.planning.law import Law
from tinylm.planning.parameter_file import apply
from tinylm.planning.workload import Workload, workload_of

LAW = Law(E=0.55, A=20.0, alpha=0.35, B=60.0, beta=0.37)
SIZES = ((55_728, 252_336), (155_600, 483_280), (792_192, 1_316_480), (2_242_064, 2_962_960))  # blocks, all
BUDGETS = (1_000_000, 2_000_000, 4_000_000)
QUICK: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "presets/quick.yaml").read_text(encoding="utf-8"))


def points(noise: float = 0.0, seed: int = 0, law: Law = LAW) -> list[Point]:
    """Return a ladder of runs of `law`, whose logarithms have normal noise; N counts the blocks."""
    draws = np.random.default_rng(seed)
    return [
        Point(f"s-{size}-{tokens}", blocks, size, tokens, law.predict(blocks, tokens) * np.exp(noise * draws.normal()))
        for blocks, size in SIZES
        for tokens in BUDGETS
    ]


def quick(**changes: Any) -> Params:
    """Return presets/quick.yaml with changes, such as train__steps=100."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return check(apply(QUICK, named), "presets/quick.yaml")


def workload(**changes: Any) -> Workload:
    return workload_of(quick(**changes))


class Experiments:
    """A git repository at `root` with experiments as DVC keeps them."""

    def __init__(self, root: Path):
        self.root = root
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("config", "user.name", "A Test")
        self._git("config", "user.email", "test@example.org")
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / ".gitignore").write_text("/.sweeps/\n/scaling/\n")
        self.write_params(QUICK)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", "start")
        self.head = self._git("rev-parse", "HEAD").strip()

    def write_params(self, values: Any) -> None:
        (self.root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    def add(self, name: str, values: dict[str, dict[str, Any]], tokens: int, bits: float | None, **more: Any) -> None:
        """Add a finished experiment; `more` replaces values of its metrics."""
        training = {"parameters": 1, "steps": values["train"]["steps"], "tokens": tokens, "device": "cpu"}
        training |= {"device_name": "x86_64", "precision": "fp32", "threads": 1, "processes": 1, "compiled": False}
        files = {
            "metrics/train.json": training | more,
            "metrics/speed.json": {"seconds": 90.0, "tokens_per_second": 40_000.0},
            "metrics/pretokenize.json": {"train": {"tokens": 4_000_000}},
            "metrics/train_tokenizer.json": {"vocab_size": values["train_tokenizer"]["vocab_size"]},
            "metrics/evaluate.json": {"bits_per_byte": bits},
        }
        for path, content in files.items():
            (self.root / path).parent.mkdir(exist_ok=True)
            (self.root / path).write_text(json.dumps(content))
        (self.root / "plots").mkdir(exist_ok=True)
        (self.root / "plots/speed.csv").write_text("step,tokens_per_second,memory_mb\n1,10.0,600.0\n9,20.0,500.0\n")
        self.write_params(values)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", name)
        self._git("update-ref", f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}", "HEAD")
        self._git("reset", "--quiet", "--hard", self.head)

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True).stdout
