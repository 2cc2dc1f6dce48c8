"""Encoding a corpus file: any number of processes, the token budget, and failures."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.pretokenize import writing
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.train_tokenizer.training import train_bpe

TOKENIZER = train_bpe(tiny.stories(64), 300, 2)
STORIES = [*tiny.stories(40), "😀 漢字 \x00", "x"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus file with several row groups."""
    return tiny.write_corpus(tmp_path / "train.parquet", STORIES, stories_per_row_group=9)


@pytest.fixture
def large_corpus(tmp_path: Path) -> Path:
    """A corpus file with enough row groups for two workers."""
    stories = [f"{number} {story}" for number in range(10) for story in tiny.stories(512)]
    return tiny.write_corpus(tmp_path / "train.parquet", stories, stories_per_row_group=128)


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_file_is_the_plain_stream_of_ids(tmp_path: Path, corpus: Path) -> None:
    info, omitted = write_split(tmp_path, "train", corpus, TOKENIZER)
    end = end_of_text_id(TOKENIZER)
    expected = [i for story in STORIES for i in [*TOKENIZER.encode(story).ids, end]]
    assert np.fromfile(tmp_path / "train.bin", "<u2").tolist() == expected
    assert (info.tokens, info.stories) == (len(expected), len(STORIES))
    assert info.text_bytes == sum(len(story.encode()) for story in STORIES)
    assert info.sha256 == files(tmp_path)["train.bin"]
    assert info.offsets_sha256 == files(tmp_path)["train_offsets.bin"]
    assert (omitted.stories_left, omitted.text_bytes_left) == (0, 0)


def test_offsets_are_where_stories_start(tmp_path: Path, corpus: Path) -> None:
    info, _ = write_split(tmp_path, "train", corpus, TOKENIZER)
    ids, offsets = np.fromfile(tmp_path / "train.bin", "<u2"), np.fromfile(tmp_path / "train_offsets.bin", "<u8")
    assert len(offsets) == info.stories + 1
    assert offsets[-1] == info.tokens
    for story, start, end in zip(STORIES, offsets, offsets[1:], strict=False):
        assert TOKENIZER.decode(ids[start : end - 1].tolist()) == story


def test_more_than_65536_ids_are_stored_in_four_bytes(tmp_path: Path) -> None:
    tokenizer = train_bpe(tiny.stories(64), 300, 2)
    tokenizer.add_tokens([f"<{n}>" for n in range(65_300)])
    corpus = tiny.write_corpus(tmp_path / "train.parquet", ["<65299> a"])
    info, _ = write_split(tmp_path, "train", corpus, tokenizer)
    assert np.fromfile(tmp_path / "train.bin", "<u4").tolist()[0] == 300 + 65_299
    assert info.tokens == (tmp_path / "train.bin").stat().st_size // 4


@pytest.mark.parametrize("max_tokens", [200, 1000, 1001, 10**9])
def test_a_token_budget_keeps_whole_stories(tmp_path: Path, corpus: Path, max_tokens: int) -> None:
    info, omitted = write_split(tmp_path, "train", corpus, TOKENIZER, 1, max_tokens)
    assert info.tokens <= max_tokens
    assert info.tokens == (tmp_path / "train.bin").stat().st_size // 2
    assert info.stories + omitted.stories_left == len(STORIES)
    assert info.text_bytes == sum(len(story.encode()) for story in STORIES[: info.stories])
    assert omitted.text_bytes_left == sum(len(story.encode()) for story in STORIES[info.stories :])
    if omitted.stories_left:
        following = len(TOKENIZER.encode(STORIES[info.stories]).ids) + 1
        assert info.tokens + following > max_tokens


def test_a_story_that_exceeds_the_budget_ends_the_split(tmp_path: Path) -> None:
    """Even if it is the last of its row group and the next story would fit."""
    corpus = tiny.write_corpus(tmp_path / "train.parquet", ["a", "b " * 100, "c", "d"], stories_per_row_group=2)
    info, omitted = write_split(tmp_path, "train", corpus, TOKENIZER, 1, 10)
    assert (info.stories, info.tokens, omitted.stories_left) == (1, 2, 3)


def test_a_budget_below_the_first_story(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match="no story of the train split fits into pretokenize.max_tokens = 5"):
        write_split(tmp_path / "tokens", "train", corpus, TOKENIZER, 1, 5)
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("max_tokens", [None, 100_000])
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, large_corpus: Path, max_tokens: int | None) -> None:
    results = [write_split(tmp_path / str(n), "train", large_corpus, TOKENIZER, n, max_tokens) for n in (1, 2)]
    assert results[0] == results[1]
    assert files(tmp_path / "1") == files(tmp_path / "2")


@pytest.mark.parametrize("shard_tokens", [1, 50, 300, 10**6])
def test_shards_are_the_one_file_cut_at_the_ends_of_stories(tmp_path: Path, corpus: Path, shard_tokens: int) -> None:
    whole, _ = write_split(tmp_path / "one", "train", corpus, TOKENIZER)
    info, _ = write_split(tmp_path / "shards", "train", corpus, TOKENIZER, shard_tokens=shard_tokens)
    shards = [(tmp_path / "shards" / name, shard) for name, shard in info.files("train").items()]
    assert (
        b"".join(path.with_suffix(".bin").read_bytes() for path, _ in shards)
        == (tmp_path / "one/train.bin").read_bytes()
    )
    assert (info.tokens, info.stories, info.text_bytes) == (whole.tokens, whole.stories, whole.text_bytes)
    assert (len(shards) == 1) == (whole.tokens <= shard_tokens) == (info == whole)
    longest = max(len(TOKENIZER.encode(story).ids) + 1 for story in STORIES)
    for path, shard in shards:
        offsets = np.fromfile(f"{path}_offsets.bin", "<u8")
        assert (offsets[0], offsets[-1], len(offsets)) == (0, shard.tokens, shard.stories + 1)
        assert shard.tokens - np.diff(offsets)[-1] < shard_tokens
        assert shard.tokens < shard_tokens + longest
        assert np.fromfile(f"{path}.bin", "<u2")[-1] == end_of_text_id(TOKENIZER)
        assert np.fromfile(f"{path}_text_offsets.bin", "<u8")[-1] == shard.text_bytes
    assert all(shard.tokens >= shard_tokens for _, shard in shards[:-1])


@pytest.mark.parametrize("max_tokens", [None, 100_000])
def test_the_number_of_processes_changes_no_shard(tmp_path: Path, large_corpus: Path, max_tokens: int | None) -> None:
    results = [
        write_split(tmp_path / str(n), "train", large_corpus, TOKENIZER, n, max_tokens, shard_tokens=30_000)
        for n in (1, 2)
    ]
    assert results[0] == results[1]
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert len(files(tmp_path / "1")) > 9


def test_the_files_of_an_earlier_run_are_removed(tmp_path: Path, corpus: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    for name in ("val.bin", "train.txt", "train-other.bin"):
        (folder / name).touch()
    names = []
    for shard_tokens in (None, 300, 1000, None):
        info, _ = write_split(folder, "train", corpus, TOKENIZER, shard_tokens=shard_tokens)
        names.append(
            {f"{name}{ending}.bin" for name in info.files("train") for ending in ("", "_offsets", "_text_offsets")}
        )
        assert set(files(folder)) == names[-1] | {"val.bin", "train.txt", "train-other.bin"}
    assert names[0] == names[3] != names[1] != names[2]


def test_processes_are_used(tmp_path: Path, large_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_encode_row_group", None)  # in this process only
    write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, 2)


def in_the_middle(work: Callable[[], object], then: Callable[[list[psutil.Process]], object]) -> None:
    """Run `work`; call `then` with the worker processes as soon as there are two."""

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
            if len(workers) == 2:
                then(workers)
                return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        watcher.join()


def test_a_worker_that_dies_is_an_error_and_leaves_nothing(tmp_path: Path, large_corpus: Path) -> None:
    with pytest.raises(UserError, match=r"a worker process died .* fewer runtime\.workers"):
        in_the_middle(
            lambda: write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, 2),
            lambda workers: workers[0].kill(),
        )
    assert list((tmp_path / "tokens").iterdir()) == []


def test_a_worker_that_dies_while_another_starts(
    tmp_path: Path, large_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool knows of a process only after starting it, and terminates only those it knows."""
    start, started = BaseProcess.start, []

    def slow_start(process: BaseProcess) -> None:
        start(process)
        started.append(process)
        if len(started) == 2:
            started[0].kill()
            started[0].join()
            time.sleep(0.5)

    monkeypatch.setattr(SpawnProcess, "start", slow_start)
    with pytest.raises(UserError, match="a worker process died"):
        write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, 2)
    assert [process.is_alive() for process in started] == [False, False]
    assert list((tmp_path / "tokens").iterdir()) == []


def test_workers_end_with_their_parent(tmp_path: Path, large_corpus: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(TOKENIZER.to_str(), encoding="utf-8")
    code = f"""
from pathlib import Path
from functools import partial
from tinylm.corpus.row_groups import map_row_groups
from tinylm.pretokenize.writing import _make_work
from tinylm.tokenizer.loading import load_tokenizer
if __name__ == "__main__":
    tokenizer = load_tokenizer({str(tmp_path / "tokenizer.json")!r}).to_str()
    groups = map_row_groups(40, partial(_make_work, Path({str(large_corpus)!r}), tokenizer), 2)
    next(groups)
    print("working", flush=True)
    input()
"""
    (tmp_path / "parent.py").write_text(code, encoding="utf-8")
    environment = dict(os.environ, PYTHONPATH=str(tiny.ROOT))
    with subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"working\n"
        workers = psutil.Process(parent.pid).children()
        assert len(workers) >= 2
        parent.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert (len(gone), alive) == (len(workers), [])


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, large_corpus: Path) -> None:
    """Writes beyond a file size limit fail, as on a full disk."""
    (tmp_path / "tokenizer.json").write_text(TOKENIZER.to_str(), encoding="utf-8")
    code = f"""
import resource, signal
from pathlib import Path
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import load_tokenizer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
write_split(Path("tokens"), "train", Path({str(large_corpus)!r}), load_tokenizer("tokenizer.json"))
"""
    environment = dict(os.environ, PYTHONPATH=str(tiny.ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "UserError: tokens/train.bin: no space left on the disk" in done.stderr
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize(("workers", "shard_tokens"), [(1, None), (2, None), (1, 10_000)])
def test_a_corpus_that_is_damaged_in_the_middle(
    tmp_path: Path, large_corpus: Path, workers: int, shard_tokens: int | None
) -> None:
    content = bytearray(large_corpus.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    large_corpus.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.parquet: expected a Parquet file, but .*dvc repro download"):
        write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, workers, shard_tokens=shard_tokens)
    assert list((tmp_path / "tokens").iterdir()) == []


def test_a_corpus_that_is_not_utf8(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"once \xff\xfe"]).buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet: expected UTF-8"):
        write_split(tmp_path / "tokens", "train", tmp_path / "train.parquet", TOKENIZER)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found"), (b"", "expected a Parquet file"), (b"Once", "expected a Parquet file")],
)
def test_a_corpus_that_is_missing_or_empty(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(UserError, match=message):
        write_split(tmp_path / "tokens", "train", tmp_path / "train.parquet", TOKENIZER)
