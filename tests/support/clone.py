"""A fresh clone of the working tree, in which DVC runs as for a user."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import fork_server
from tests.support.tiny import ROOT

# Small enough to run all stages in seconds.
SMALL = {
    "download.sample_stories": 400,
    "download.val_fraction": 0.1,
    "train_tokenizer.vocab_size": 512,
    "model.layers": 1,
    "model.heads": 2,
    "model.width": 32,
    "model.mlp_width": 64,
    "model.context": 64,
    "train.steps": 12,
    "train.warmup_steps": 2,
    "train.batch_size": 4,
    "train.log_every": 4,
    "train.val_every": 6,
    "train.val_stories": 8,
    "train.checkpoint_every": 6,
    "generate.max_tokens": 30,
    "generate.judged_stories": 4,
    "runtime.threads": 1,
}


def path(folder: Path) -> str:
    """Return a PATH with `folder` first."""
    return f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def environment(commands: Path) -> dict[str, str]:
    """Return the environment of a clone's commands; Python and DVC are those in the folder `commands`."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "PYTEST_"))},
        "PATH": path(commands),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONPATH": "",
        "TINYLM_FRESH": "1",  # otherwise a repeated run would be resumed at its end
    }


class Clone:
    """A git repository with the files of this one, small parameters, and an empty DVC cache.

    Its Python and DVC are forked (fork_server.py); with `real`, they are started as for a user.
    """

    def __init__(self, root: Path, real: bool = False):
        self.root = root
        self.environ = environment(Path(sys.executable).parent if real else fork_server.commands())
        self._copy_files()
        self.set_params(SMALL)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "A Test")
        self.git("config", "user.email", "test@example.org")
        self.commit("start")

    @classmethod
    def of(cls, other: "Clone", root: Path) -> "Clone":
        """Clone `other` as a colleague would with `git clone`: its commits, without its cache and remotes."""
        clone = cls.__new__(cls)
        clone.root, clone.environ = root, dict(other.environ)
        root.mkdir(parents=True, exist_ok=True)
        clone.git("clone", "--quiet", str(other.root), ".")
        clone.git("config", "user.name", "A Colleague")
        clone.git("config", "user.email", "colleague@example.org")
        return clone

    @classmethod
    def at(cls, root: Path) -> "Clone":
        """Return the existing clone at `root`."""
        clone = cls.__new__(cls)
        clone.root, clone.environ = root, environment(fork_server.commands())
        return clone

    def real(self) -> "Clone":
        """Return the same clone with Python and DVC started as for a user."""
        clone = type(self).__new__(type(self))
        clone.root, clone.environ = self.root, self.environ | {"PATH": path(Path(sys.executable).parent)}
        return clone

    def copy(self, root: Path) -> "Clone":
        """Copy the clone with its cache, experiments and untracked files."""
        clone = type(self).__new__(type(self))
        clone.root, clone.environ = root, dict(self.environ)
        shutil.copytree(self.root, root, symlinks=True)
        return clone

    def _copy_files(self) -> None:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        (self.root / "dvc.lock").unlink(missing_ok=True)

    def set_params(self, values: dict[str, object]) -> None:
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        for name, value in values.items():
            section, key = name.split(".")
            line = re.compile(rf"(^{section}:.*\n(?:  .*\n)*?  {key}: )[^#\n]*", re.MULTILINE)
            text, count = line.subn(rf"\g<1>{value} ", text)
            assert count == 1, name
        path.write_text(text, encoding="utf-8")

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def dvc(self, *arguments: str) -> str:
        """Run a DVC command that must succeed; return its standard output."""
        return self._run("dvc", *arguments).stdout

    def fail(self, *arguments: str) -> str:
        """Run a DVC command that must fail; return its standard output and error."""
        done = self._run("dvc", *arguments, expected_success=False)
        return done.stdout + done.stderr

    def gto(self, *arguments: str) -> str:
        """Run a command of the model registry that must succeed; return its standard output."""
        return self._run("gto", *arguments).stdout

    def python(self, *arguments: str) -> str:
        """Run a Python command that must succeed; return its standard output."""
        return self._run("python", *arguments).stdout

    def _run(self, *command: str, expected_success: bool = True) -> subprocess.CompletedProcess[str]:
        found = shutil.which(command[0], path=self.environ["PATH"])
        assert found
        words = [found, *command[1:]]
        done = subprocess.run(words, cwd=self.root, env=self.environ, capture_output=True, text=True)
        assert (done.returncode == 0) == expected_success, f"{command}\n{done.stdout}\n{done.stderr}"
        return done


def stages_run(output: str) -> list[str]:
    """Return the names of the stages that DVC ran, according to its output."""
    return re.findall(r"Running stage '(\w+)'", output)


def committed(clone: Clone, experiment: str) -> str:
    """Return the commit of an experiment."""
    return clone.git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{experiment}").split()[0]
