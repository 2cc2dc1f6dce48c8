"""The commands of the README and the tutorials, typed one after the other into a small clone."""

import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clone import Clone
from tests.support.documentation import shell_blocks
from tests.support.fake_hub import COMMIT, FakeHub
from tests.support.tiny import ROOT
from tinylm.download import sample

# What stands for `make`, which would install, and for the console command; a server is stopped as soon as it listens.
MAKE = """#!/bin/sh
case $1 in
env) ;;
repro) dvc repro && python -m tinylm.cli.summary ;;
*) echo "make $1 is not run here" >&2; exit 1 ;;
esac
"""
TINYLM = """#!/bin/bash
if [ "$1" = serve ]; then
    coproc exec python -m tinylm serve --port 0 --no-browser
    server=$COPROC_PID
    read -r line <&"${COPROC[0]}" && echo "$line"
    kill -INT $server
    wait $server
else
    exec python -m tinylm "$@"
fi
"""
SHORTER = {"--trials 20": "--trials 3", "train.steps=200": "train.steps=12"}  # so that a test takes seconds

pytestmark = pytest.mark.torture  # two minutes; tests/project/test_docs.py checks each command by itself


def text(stories: Iterable[str]) -> str:
    """Return stories as the text of a file."""
    return "\n<|endoftext|>\n".join(stories)


@contextmanager
def hub() -> Iterator[str]:
    """Yield the address of a Hub with a small TinyStories."""
    train, val = (text(list(sample.stories(400, seed=2))[part]).encode() for part in (slice(40, None), slice(40)))
    with FakeHub({"TinyStoriesV2-GPT4-train.txt": train, "TinyStoriesV2-GPT4-valid.txt": val}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.endpoint
        server.shutdown()


def type_in(page: str, clone: Clone, folder: Path, replaced: Mapping[str, str] = SHORTER) -> str:
    """Run the blocks of a page as one script in `clone`; return what the commands print."""
    (clone.root / "stories.txt").write_text(text(sample.stories(400, seed=1)), encoding="utf-8")
    (clone.root / ".venv/bin").mkdir(parents=True)
    (clone.root / ".venv/bin/activate").touch()
    commands = folder / "commands"
    commands.mkdir()
    for name, script in {"make": MAKE, "tinylm": TINYLM}.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    script = "\n".join(["set -e", *shell_blocks(ROOT / page)])
    for old, new in replaced.items():
        script = script.replace(old, new)
    with hub() as endpoint:
        environ = clone.environ | {
            "PATH": f"{commands}{os.pathsep}{clone.environ['PATH']}",
            "BROWSER": "true",  # `tinylm open` starts it
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(folder / "hub"),
        }
        done = subprocess.run(["bash", "-c", script], cwd=clone.root, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def clone(ran: Clone, tmp_path: Path) -> Clone:
    """A clone that ran the pipeline, with TinyStories in the version that the Hub of `hub` has."""
    copy = ran.copy(tmp_path / "clone")
    copy.set_params({"download.variant": "v2", "download.revision": COMMIT})
    copy.dvc("repro")
    copy.commit("the first run")
    return copy


def experiments(clone: Clone) -> set[str]:
    """Return the names of the experiments."""
    return set(clone.dvc("exp", "list", "--all-commits", "--name-only").split())


def test_the_readme(clone: Clone, tmp_path: Path) -> None:
    clone.set_params({"train.seed": 7})  # so that the first run has something to do
    output = type_in("README.md", clone, tmp_path)
    assert experiments(clone) >= {"low-lr", "real", "mine"}
    assert "bits per byte (95%: " in output  # tinylm compare
    assert "serves artifacts/model" in output
    assert '"source_used": "files"' in (clone.root / "metrics/download.json").read_text()


def test_the_first_run(clone: Clone, tmp_path: Path) -> None:
    clone.set_params({"train.seed": 7})
    output = type_in("docs/tutorial/first-run.md", clone, tmp_path)
    assert "Once upon a time" in output
    assert "warmer" in experiments(clone)
    assert clone.git("log", "-1", "--format=%s") == "The run on this machine\n"
    assert clone.git("status", "--porcelain", "--untracked-files=no") == ""


def test_own_stories(clone: Clone, tmp_path: Path) -> None:
    type_in("docs/tutorial/own-stories.md", clone, tmp_path)
    assert "mine" in experiments(clone)
    assert clone.git("log", "-1", "--format=%s") == "Train on my own stories\n"
    assert '"source_used": "tinystories"' in (clone.root / "metrics/download.json").read_text()  # the last command


def test_the_first_sweep(clone: Clone, tmp_path: Path) -> None:
    output = type_in("docs/tutorial/first-sweep.md", clone, tmp_path)
    assert experiments(clone) >= {f"{sweep}-00{n}" for sweep in ("first", "search", "mid", "high") for n in range(3)}
    assert output.count("bits per byte (95%: ") >= 4  # of two comparisons


def test_a_new_machine(clone: Clone, tmp_path: Path) -> None:
    origin, new = tmp_path / "origin", tmp_path / "new"
    subprocess.run(["git", "clone", "--quiet", "--bare", clone.root, origin], check=True)
    clone.git("remote", "add", "origin", str(origin))
    clone.git("push", "--quiet", "--set-upstream", "origin", "main")
    (clone.root / "README.md").write_text("something to commit")
    new.mkdir()
    replaced = {
        "/mnt/shared/tinylm": str(tmp_path / "store"),
        "git clone ADDRESS": f"cd {new}; git clone --quiet {origin}",
        "make env": "make env; mkdir -p .venv/bin; touch .venv/bin/activate",
    }
    output = type_in("docs/tutorial/new-machine.md", clone, tmp_path, replaced)
    assert "Data and pipelines are up to date." in output
    assert (new / "tinylm/artifacts/model/model.safetensors").is_file()
