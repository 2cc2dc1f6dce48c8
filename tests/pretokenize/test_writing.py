"""Encoding a corpus file: any number of processes, the token budget, and failures."""

import hashlib
import os
import re
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
from tokenizers import Tokenizer, normalizers

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.pretokenize import writing
from tinylm.pretokenize.writing import Omitted, write_split
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.train_tokenizer.training import train_bpe
from tinylm.workers.processes import LocalWorkers

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
    info, omitted = write_split(tmp_path, "train", corpus, TOKENIZER, None, max_tokens)
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
    info, omitted = write_split(tmp_path, "train", corpus, TOKENIZER, None, 10)
    assert (info.stories, info.tokens, omitted.stories_left) == (1, 2, 3)


def test_a_budget_below_the_first_story(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match="no story of the train split fits into pretokenize.max_tokens = 5"):
        write_split(tmp_path / "tokens", "train", corpus, TOKENIZER, None, 5)
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("max_tokens", [None, 100_000])
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, large_corpus: Path, max_tokens: int | None) -> None:
    results = [
        write_split(tmp_path / str(n), "train", large_corpus, TOKENIZER, LocalWorkers(n), max_tokens) for n in (1, 2)
    ]
    assert results[0] == results[1]
    assert files(tmp_path / "1") == files(tmp_path / "2")


@pytest.mark.parametrize("shards", [2, 5, len(STORIES)])
def test_shards_of_a_corpus_become_shards_that_together_are_the_one_file(tmp_path: Path, shards: int) -> None:
    one = tiny.write_corpus(tmp_path / "one/train.parquet", STORIES)
    whole, _ = write_split(tmp_path / "whole", "train", one, TOKENIZER)
    corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", STORIES, shards)
    info, omitted = write_split(tmp_path / "shards", "train", corpus, TOKENIZER)
    files_ = [(tmp_path / "shards" / name, shard) for name, shard in info.files("train").items()]
    assert len(files_) == shards
    ids = b"".join(path.with_suffix(".bin").read_bytes() for path, _ in files_)
    assert ids == (tmp_path / "whole/train.bin").read_bytes()
    assert (info.tokens, info.stories, info.text_bytes) == (whole.tokens, whole.stories, whole.text_bytes)
    assert omitted == Omitted(0, 0)
    for path, shard in files_:
        offsets = np.fromfile(f"{path}_offsets.bin", "<u8")
        assert (offsets[0], offsets[-1], len(offsets)) == (0, shard.tokens, shard.stories + 1)
        assert np.fromfile(f"{path}.bin", "<u2")[-1] == end_of_text_id(TOKENIZER)
        assert np.fromfile(f"{path}_text_offsets.bin", "<u8")[-1] == shard.text_bytes
        assert shard.sha256 == files(tmp_path / "shards")[f"{path.name}.bin"]


@pytest.mark.parametrize("max_tokens", [200, 1000, 1001, 10**9])
def test_a_token_budget_is_kept_over_shards(tmp_path: Path, corpus: Path, max_tokens: int) -> None:
    in_shards = tiny.write_corpus_in_shards(tmp_path / "shards/train.parquet", STORIES, 6)
    whole, omitted = write_split(tmp_path / "whole", "train", corpus, TOKENIZER, None, max_tokens)
    info, omitted_of_shards = write_split(tmp_path / "tokens", "train", in_shards, TOKENIZER, None, max_tokens)
    assert omitted_of_shards == omitted
    assert (info.tokens, info.stories, info.text_bytes) == (whole.tokens, whole.stories, whole.text_bytes)
    names = [f"{name}.bin" for name in info.files("train")]
    assert all(shard.tokens for shard in info.files("train").values())
    ids = b"".join((tmp_path / "tokens" / name).read_bytes() for name in names)
    assert ids == (tmp_path / "whole/train.bin").read_bytes()


def test_a_budget_below_the_first_story_of_shards(tmp_path: Path) -> None:
    corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", STORIES, 6)
    with pytest.raises(UserError, match="no story of the train split fits into pretokenize.max_tokens = 5"):
        write_split(tmp_path / "tokens", "train", corpus, TOKENIZER, None, 5)
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("max_tokens", [None, 100_000])
def test_the_number_of_processes_changes_no_shard(tmp_path: Path, max_tokens: int | None) -> None:
    stories = [f"{number} {story}" for number in range(10) for story in tiny.stories(512)]
    corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", stories, 12)
    results = [write_split(tmp_path / str(n), "train", corpus, TOKENIZER, LocalWorkers(n), max_tokens) for n in (1, 2)]
    assert results[0] == results[1]
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert len(files(tmp_path / "1")) >= 9


def test_whether_shards_are_lossless_is_known_for_each(tmp_path: Path) -> None:
    """An encoder that has altered a text in one shard must not be taken to have altered those of the next."""
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", ["all small"] * 4 + ["Large"], 5)
    with pytest.raises(UserError, match="'Large' is decoded as 'large'"):
        write_split(tmp_path / "tokens", "train", corpus, tokenizer)
    assert list((tmp_path / "tokens").iterdir()) == []
    for max_tokens, lossless in ((None, False), (len(tokenizer.encode("all small").ids) * 4 + 4, True)):
        info, _ = write_split(tmp_path / "tokens", "train", corpus, tokenizer, None, max_tokens, lossy=True)
        assert info.lossless is lossless


def test_a_missing_shard(tmp_path: Path) -> None:
    corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", STORIES, 6)
    (tmp_path / "train-00003-of-00006.parquet").unlink()
    with pytest.raises(UserError, match=r"expected 6 shards of train, train-00003-of-00006\.parquet is missing"):
        write_split(tmp_path / "tokens", "train", corpus, TOKENIZER)


def test_the_files_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    for name in ("val.bin", "train.txt", "train-other.bin"):
        (folder / name).touch()
    names = []
    for shards in (1, 3, 2, 1):
        corpus = tiny.write_corpus_in_shards(tmp_path / "train.parquet", STORIES, shards)
        info, _ = write_split(folder, "train", corpus, TOKENIZER)
        names.append(
            {f"{name}{ending}.bin" for name in info.files("train") for ending in ("", "_offsets", "_text_offsets")}
        )
        assert set(files(folder)) == names[-1] | {"val.bin", "train.txt", "train-other.bin"}
    assert names[0] == names[3] != names[1] != names[2]


def test_processes_are_used(tmp_path: Path, large_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_encode_row_group", None)  # in this process only
    write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, LocalWorkers(2))


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
            lambda: write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, LocalWorkers(2)),
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
        write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, LocalWorkers(2))
    assert [process.is_alive() for process in started] == [False, False]
    assert list((tmp_path / "tokens").iterdir()) == []


def test_workers_end_with_their_parent(tmp_path: Path, large_corpus: Path) -> None:
    code = f"""
from pathlib import Path
from tinylm.corpus.row_groups import map_row_groups
from tinylm.train_tokenizer.counting import _make_work
from tinylm.workers.processes import LocalWorkers
if __name__ == "__main__":
    groups = map_row_groups(Path({str(large_corpus)!r}), _make_work, LocalWorkers(2))
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
from tinylm.pretokenize.writing import Omitted, write_split
from tinylm.tokenizer.loading import load_tokenizer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
write_split(Path("tokens"), "train", Path({str(large_corpus)!r}), load_tokenizer("tokenizer.json"))
"""
    environment = dict(os.environ, PYTHONPATH=str(tiny.ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"UserError: tokens/\S*train\.bin: no space left on the disk", done.stderr)
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corpus_that_is_damaged_in_the_middle(tmp_path: Path, large_corpus: Path, workers: int) -> None:
    content = bytearray(large_corpus.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    large_corpus.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.parquet: expected a Parquet file, but .*dvc repro download"):
        write_split(tmp_path / "tokens", "train", large_corpus, TOKENIZER, LocalWorkers(workers))
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
