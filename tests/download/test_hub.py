"""TinyStories from a fake local Hub, in subprocesses: with, without and with an unreliable connection."""

import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import fork_server
from tests.support.fake_hub import COMMIT, FakeHub
from tinylm.corpus.storage import read_stories

ROOT = Path(__file__).parent.parent.parent
STORIES_PER_SHARD = 4000
TRAIN = [f"data/train-0000{n}-of-00003-2d5a1467fff1081b.parquet" for n in range(3)]
V2_TRAIN, V2_VALIDATION, V2_STORIES = "TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt", 6000
VALIDATION = "data/validation-00000-of-00001-869c898b519ad725.parquet"
# The waits between retries are shortened, and warnings are errors.
RUN = (
    "import runpy, time, warnings; time.sleep = lambda s: None; warnings.simplefilter('error'); "
    "runpy.run_module('stages.download', run_name='__main__')"
)


def text(split: str, number: int) -> str:
    """A story of 2 KB that does not compress well."""
    return f"{split} {number} {random.Random(f'{split}{number}').randbytes(1000).hex()}"


def shard(stories: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": stories}), buffer, row_group_size=1000)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    every = {"README.md": b"---\nlicense: cdla-sharing-1.0\n---\n", "TinyStories-train.txt": b"not to be read"}
    for n, name in enumerate(TRAIN):
        first = n * STORIES_PER_SHARD
        every[name] = shard([text("train", i) for i in range(first, first + STORIES_PER_SHARD)])
    every[V2_TRAIN] = "<|endoftext|>".join(text("v2 train", i) for i in range(V2_STORIES)).encode()
    every[V2_VALIDATION] = "<|endoftext|>".join(text("v2 validation", i) for i in range(20)).encode()
    return every | {VALIDATION: shard([text("validation", i) for i in range(20)] + [text("train", 7)])}


@pytest.fixture(scope="module")
def server(files: dict[str, bytes]) -> Iterator[FakeHub]:
    with FakeHub(files) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


@pytest.fixture
def hub(server: FakeHub) -> FakeHub:
    server.reset()
    return server


class Workplace:
    """A folder with a params.yaml and its own Hub cache."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.corpus = folder / "artifacts/corpus"

    def run(self, endpoint: str, offline: bool = False, **download: object) -> subprocess.CompletedProcess[str]:
        params = (ROOT / "params.yaml").read_text(encoding="utf-8")
        for key, value in {"source": "tinystories", "revision": COMMIT, "sample_stories": 300, **download}.items():
            old = next(line for line in params.splitlines() if line.startswith(f"  {key}: "))
            params = params.replace(old, f"  {key}: {value}", 1)
        (self.folder / "params.yaml").write_text(params, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_HOME": str(self.folder / "hf"), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)}
        environment |= {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
        environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        return subprocess.run(
            [fork_server.python(), "-c", RUN],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fails(self, endpoint: str, offline: bool = False, **download: object) -> str:
        """Run, and return the one line of the error."""
        done = self.run(endpoint, offline, **download)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 1, done
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        return lines[0]

    def metrics(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "metrics/download.json").read_text(encoding="utf-8")))

    def stories(self, split: str) -> list[str]:
        return list(read_stories(self.folder / f"artifacts/corpus/{split}.parquet"))


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def train_stories(count: int) -> list[str]:
    """The first stories without number 7, which is a validation story."""
    return [text("train", number) for number in range(count) if number != 7]


def test_a_limit_does_not_download_everything(hub: FakeHub, place: Workplace) -> None:
    done = place.run(hub.endpoint, max_stories=150, revision="main")
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert place.stories("train") == train_stories(150)
    assert place.stories("val") == [*(text("validation", number) for number in range(20)), text("train", 7)]
    metrics = place.metrics()
    assert metrics["provenance"] == {"repository": "roneneldan/TinyStories", "revision": COMMIT, "variant": "v1"}
    assert (metrics["source"], metrics["source_used"]) == ("tinystories", "tinystories")
    assert metrics["dropped"]["train"] == {"empty": 0, "too_short": 0, "duplicate": 0, "in_validation": 1}
    assert hub.served < sum(map(len, hub.files.values())) / 2
    assert not any(name in request for request in hub.requests for name in TRAIN[1:])


def test_a_filled_cache_needs_no_network(hub: FakeHub, place: Workplace) -> None:
    assert place.run(hub.endpoint).returncode == 0
    assert place.stories("train") == train_stories(3 * STORIES_PER_SHARD)
    shutil.rmtree(place.corpus)
    done = place.run("http://127.0.0.1:9", offline=True, max_stories=5000)
    assert done.returncode == 0, done
    assert place.stories("train") == train_stories(5000)
    assert place.metrics()["provenance"] == {
        "repository": "roneneldan/TinyStories",
        "revision": COMMIT,
        "variant": "v1",
    }


def test_a_cut_stream_resumes(hub: FakeHub, place: Workplace) -> None:
    hub.cut_after, hub.cuts = 3_000_000, 2
    assert place.run(hub.endpoint, max_stories=4500).returncode == 0
    assert hub.cuts == 0
    assert place.stories("train") == train_stories(4500)


def test_an_interrupted_stream_leaves_the_old_corpus(hub: FakeHub, place: Workplace) -> None:
    place.corpus.mkdir(parents=True)
    old = {name: place.corpus / name for name in ("train.parquet", "val.parquet")}
    for name, path in old.items():
        path.write_text(name)
    hub.cut_after, hub.cuts = 7_000_000, 1000
    error = place.fails(hub.endpoint, max_stories=4500, fallback="sample")
    assert re.search(rf"{TRAIN[0]} of roneneldan/TinyStories, after \d{{4}} stories, was interrupted: ", error)
    assert "run the same command again" in error
    assert {path.name: path.read_text() for path in place.corpus.iterdir()} == {name: name for name in old}
    assert not (place.folder / "metrics").exists()


def test_a_cut_download_resumes(hub: FakeHub, place: Workplace) -> None:
    hub.cut_after, hub.cuts = 3_000_000, 1
    assert place.run(hub.endpoint).returncode == 0
    assert hub.cuts == 0
    assert place.stories("train") == train_stories(3 * STORIES_PER_SHARD)


def test_an_interrupted_download_keeps_complete_files(hub: FakeHub, place: Workplace) -> None:
    hub.cut_after, hub.cuts = 20_000_000, 1000
    error = place.fails(hub.endpoint, fallback="sample")
    assert "the download of roneneldan/TinyStories was interrupted: " in error
    assert "complete files are kept" in error
    assert not place.corpus.exists()
    hub.reset()
    assert place.run(hub.endpoint).returncode == 0
    assert 0 < hub.served < sum(map(len, hub.files.values())) / 2
    assert place.stories("train") == train_stories(3 * STORIES_PER_SHARD)


@pytest.mark.parametrize("limit", [150, "null"])
def test_the_second_version(hub: FakeHub, place: Workplace, limit: int | str) -> None:
    done = place.run(hub.endpoint, variant="v2", max_stories=limit)
    assert done.returncode == 0, done
    assert place.stories("train") == [text("v2 train", n) for n in range(150 if limit == 150 else V2_STORIES)]
    assert place.stories("val") == [text("v2 validation", n) for n in range(20)]
    assert not any(name in request for request in hub.requests for name in TRAIN)
    if limit == "null":
        shutil.rmtree(place.corpus)
        assert place.run("http://127.0.0.1:9", offline=True, variant="v2").returncode == 0
        assert len(place.stories("train")) == V2_STORIES


def test_a_cut_stream_of_the_second_version_resumes(hub: FakeHub, place: Workplace) -> None:
    hub.cut_after, hub.cuts = 3_000_000, 2
    assert place.run(hub.endpoint, variant="v2", max_stories=5000).returncode == 0
    assert hub.cuts == 0
    assert place.stories("train") == [text("v2 train", n) for n in range(5000)]


def test_a_revision_without_the_second_version_is_an_error(place: Workplace) -> None:
    with FakeHub({"README.md": b"# Stories"}) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        error = place.fails(hub.endpoint, variant="v2", fallback="sample")
        hub.shutdown()
    assert f"download.variant: expected {V2_VALIDATION} in roneneldan/TinyStories" in error


def test_an_unknown_revision_is_an_error_without_fallback(hub: FakeHub, place: Workplace) -> None:
    error = place.fails(hub.endpoint, revision="f" * 40, fallback="sample")
    assert f"download.revision: expected a commit, branch or tag of roneneldan/TinyStories, got {'f' * 40}" in error


def test_a_missing_dataset_is_an_error_without_fallback(hub: FakeHub, place: Workplace) -> None:
    error = place.fails(f"{hub.endpoint}/elsewhere", fallback="sample")
    assert "has no dataset roneneldan/TinyStories" in error


def test_a_repository_without_parquet_is_an_error(place: Workplace) -> None:
    with FakeHub({"train.txt": b"Once upon a time.", "README.md": b"# Stories"}) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        error = place.fails(hub.endpoint, fallback="sample")
        hub.shutdown()
    assert "expected Parquet files for train and validation" in error


def remedies(error: str) -> bool:
    return all(word in error for word in ("network", "HF_HUB_OFFLINE=1", "source: files", "fallback: sample"))


def test_no_network_is_one_clear_line_within_seconds(place: Workplace) -> None:
    started = time.monotonic()
    error = place.fails("http://127.0.0.1:9")
    assert "cannot get roneneldan/TinyStories from http://127.0.0.1:9: " in error
    assert remedies(error)
    assert time.monotonic() - started < 10
    assert not place.corpus.exists()


def test_a_silent_network_times_out(place: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert remedies(place.fails(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert time.monotonic() - started < 15


def test_a_web_page_is_not_a_hub(hub: FakeHub, place: Workplace) -> None:
    hub.portal = True
    error = place.fails(hub.endpoint)
    assert "not that of a Hub" in error
    assert remedies(error)


def test_the_fallback_is_used_if_configured_and_logged(place: Workplace) -> None:
    done = place.run("http://127.0.0.1:9", fallback="sample")
    assert done.returncode == 0, done
    assert "warning: cannot get roneneldan/TinyStories" in done.stdout
    assert "warning: download.fallback: sample" in done.stdout
    metrics = place.metrics()
    assert (metrics["source"], metrics["source_used"]) == ("tinystories", "sample")
    assert metrics["provenance"] == {"seed": 1337, "stories": 300}


def test_offline_without_a_cache_says_so(hub: FakeHub, place: Workplace) -> None:
    error = place.fails(hub.endpoint, offline=True)
    assert "HF_HUB_OFFLINE is set" in error
    assert COMMIT in error
    assert remedies(error)
