"""Work on a Ray cluster of two nodes; needs the extra `ray`."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import tiny
from tests.support.ray_nodes import ENVIRON, RayNodes, ray_nodes
from tests.workers.work import HELD
from tinylm.base.errors import UserError
from tinylm.base.yaml12 import read
from tinylm.workers.ray import _work

PATIENCE = 120  # seconds
NUMBERS = list(range(8))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with ray_nodes() as nodes:
        yield nodes


def start(cluster: RayNodes, folder: Path, *words: str) -> subprocess.Popen[str]:
    place = {"PYTHONPATH": str(tiny.ROOT), "RAY_ADDRESS": f"127.0.0.1:{cluster.port}"}
    environment = os.environ | ENVIRON | place
    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def square(cluster: RayNodes, folder: Path, make: str, numbers: list[int] = NUMBERS) -> subprocess.Popen[str]:
    """Start a program that prints the results of work on the cluster, or the error."""
    code = f"""
from functools import partial
from pathlib import Path
from tests.workers import work
from tinylm.base.errors import UserError
from tinylm.workers.ray import RayWorkers
try:
    print(list(RayWorkers().map({make}, {numbers})))
except UserError as error:
    print(f"error: {{error}}")
"""
    return start(cluster, folder, "-c", code)


def wait_for(folder: Path, pattern: str) -> list[Path]:
    deadline = time.monotonic() + PATIENCE
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < deadline, pattern
        time.sleep(0.02)
    return found


@pytest.mark.torture
def test_work_of_a_lost_node_is_done_again(cluster: RayNodes, tmp_path: Path) -> None:
    node = cluster.add()
    program = square(cluster, tmp_path, "partial(work.make_squaring, Path.cwd())")
    (held,) = wait_for(tmp_path, f"started-{HELD}-*")
    worker = psutil.Process(int(held.name.rpartition("-")[2]))
    ancestors = {parent.pid for parent in worker.parents()}
    number = next(n for n in range(1, node + 1) if cluster.nodes[n].pid in ancestors)
    cluster.kill(number)
    printed, errors = program.communicate(timeout=PATIENCE)
    assert printed.splitlines()[-1:] == [str([number * number for number in NUMBERS])], errors
    starts = [path.name.split("-")[1] for path in tmp_path.glob("started-*")]
    assert starts.count(str(HELD)) == 2
    assert len(list(tmp_path.glob("made-*"))) < len(starts)  # the work is made once in a process
    assert not list(tmp_path.glob(".workers-*"))


@pytest.mark.torture
def test_errors_of_the_work_and_of_ray(cluster: RayNodes, tmp_path: Path) -> None:
    printed, errors = square(cluster, tmp_path, "work.make_failing").communicate(timeout=PATIENCE)
    assert printed.splitlines()[-1:] == [f"error: {HELD} cannot be squared"], errors
    printed, errors = square(cluster, tmp_path, "work.make_dying", [1]).communicate(timeout=PATIENCE)
    assert "error: Ray lost the same work 4 times" in printed, errors


@pytest.mark.torture
def test_the_stages_write_the_same_bytes_on_a_cluster(cluster: RayNodes, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(3):
        stories = [f"{number} {story}" for story in tiny.stories(512)] * 12
        lines = (json.dumps({"text": f"{index} {story * 2}"}) for index, story in enumerate(stories))
        (text / f"{number}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    contents = {}
    for engine in ("processes", "ray"):
        folder = tmp_path / engine
        folder.mkdir()
        params = read(tiny.ROOT / "params.yaml", "")
        params["download"] |= {"source": "files", "paths": [str(text)], "shard_mb": 1}
        params["runtime"]["engine"] = engine
        (folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
        for stage in ("download", "train_tokenizer", "pretokenize"):
            program = start(cluster, folder, "-m", f"stages.{stage}")
            output = program.communicate(timeout=PATIENCE)
            assert program.returncode == 0, output
        made = [path for path in folder.rglob("*") if path.is_file() and path.name != "params.yaml"]
        contents[engine] = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in made
        }
    assert contents["processes"] == contents["ray"]
    assert {"artifacts/corpus/train-00002-of-00003.parquet", "artifacts/tokens/val-00002-of-00003.bin"} < set(
        contents["ray"]
    )


def test_a_node_that_does_not_see_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="on a file system that all nodes share, at the same path"):
        _work("1", (lambda: str, tmp_path / "missing/.workers-1.tmp"), 5)
