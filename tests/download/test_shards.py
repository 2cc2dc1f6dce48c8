"""A corpus in shards: the stories of one file, for any number of files, parts and workers."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.corpus import storage
from tinylm.corpus.storage import read_stories
from tinylm.download import files, shards
from tinylm.download.params import DownloadParams
from tinylm.download.shards import write_shards
from tinylm.download.sources import open_source
from tinylm.download.split import write_corpus
from tinylm.workers.processes import LocalWorkers

STORIES = st.sampled_from([*"abcdefgh", " ", "a<|endoftext|>b", "â€œOh!â€\x9d", "x\x07y", "long enough"])
FILES = st.lists(st.lists(STORIES, min_size=1, max_size=8), min_size=1, max_size=6)
FLAGS = ("drop_empty", "drop_duplicates", "drop_validation_from_train", "repair_mojibake", "remove_control_characters")


def write_files(folder: Path, name: str, stories: Sequence[Sequence[str]]) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}{number}.jsonl" for number in range(len(stories))]
    for path, of_file in zip(paths, stories, strict=True):
        path.write_text("".join(json.dumps({"text": story}) + "\n" for story in of_file), encoding="utf-8")
    return [str(path) for path in paths]


def ask(
    folder: Path, train: Sequence[Sequence[str]], val: Sequence[Sequence[str]] = (), **changes: Any
) -> DownloadParams:
    paths = {"paths": write_files(folder, "train", train), "val_paths": write_files(folder, "val", val)}
    return tiny.download_params(source="files", shard_mb=1, **paths, **changes)


def read(folder: Path) -> dict[str, Counter[str]]:
    return {side: Counter(read_stories(folder / f"{side}.parquet")) for side in ("train", "val")}


def attempt(work: Any) -> Any:
    """Return what `work` returns, or the message of its error."""
    try:
        return work()
    except UserError as error:
        return str(error)


@settings(max_examples=25, deadline=None)
@given(
    train=FILES,
    val=FILES | st.just([]),
    fraction=st.sampled_from([0.001, 0.3, 0.9]),
    seed=st.integers(0, 5),
    flags=st.tuples(*[st.booleans()] * len(FLAGS)),
    size=st.sampled_from([1, 60, 10**6]),
    at_once=st.integers(1, 9),
    max_stories=st.none() | st.integers(1, 30),
)
def test_the_stories_and_counts_are_those_of_one_file(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[list[str]],
    val: list[list[str]],
    fraction: float,
    seed: int,
    flags: tuple[bool, ...],
    size: int,
    at_once: int,
    max_stories: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    changes = dict(zip(FLAGS, flags, strict=True)) | {
        "max_stories": max_stories,
        "val_fraction": fraction,
        "seed": seed,
    }
    params = ask(folder / "text", train, val, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MB", size)
        patch.setattr(shards, "DIGESTS_AT_ONCE", at_once)
        one = attempt(lambda: write_corpus(open_source(params, folder), params, folder / "one"))
        many = attempt(lambda: write_shards(params, folder, folder / "many", LocalWorkers())[1])
    assert one == many
    if isinstance(one, str):
        assert list((folder / "many").iterdir()) == []
    else:
        assert read(folder / "one") == read(folder / "many")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each file a part of its own."""
    monkeypatch.setattr(shards, "MB", 1)


def numbered(count: int, stories: int) -> list[list[str]]:
    return [[f"story {file} {story}" for story in range(stories)] for file in range(count)]


def read_shards(corpus: Path) -> list[list[str]]:
    return [list(read_stories(path)) for path in storage.shards(corpus)]


@pytest.mark.usefixtures("small_parts")
def test_a_file_becomes_a_shard_in_its_order(tmp_path: Path) -> None:
    stories = numbered(4, 50)
    write_shards(ask(tmp_path / "text", stories, val_fraction=0.2), tmp_path, tmp_path / "corpus", LocalWorkers())
    assert len(list((tmp_path / "corpus").iterdir())) == 8
    kept, held_out = (read_shards(tmp_path / f"corpus/{side}.parquet") for side in ("train", "val"))
    for of_file, ours, theirs in zip(stories, kept, held_out, strict=True):
        assert [story for story in of_file if story in ours] == ours
        assert [story for story in of_file if story in theirs] == theirs
        assert sorted(ours + theirs) == sorted(of_file)


@pytest.mark.usefixtures("small_parts")
def test_the_first_of_equal_stories_is_kept(tmp_path: Path) -> None:
    params = ask(tmp_path / "text", [["a", "b"], ["b", "c"], ["c", "d", "a"]], [["v"], ["v", "w"]])
    write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers())
    assert read_shards(tmp_path / "corpus/train.parquet") == [["a", "b"], ["c"], ["d"]]
    assert read_shards(tmp_path / "corpus/val.parquet") == [["v"], ["w"]]


@pytest.mark.usefixtures("small_parts")
def test_a_dropped_story_is_counted_once(tmp_path: Path) -> None:
    params = ask(tmp_path / "text", [["v", "v", "a", "a"], ["v", "a", "b"]], [["v", "v"]])
    _, counts = write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers())
    dropped = {side: (of["duplicate"], of["in_validation"]) for side, of in counts["dropped"].items()}
    assert dropped == {"train": (2, 3), "val": (1, 0)}


@pytest.mark.usefixtures("small_parts")
def test_a_file_of_blank_stories(tmp_path: Path) -> None:
    params = ask(tmp_path / "text", [["a"], [" ", ""], ["b"]], [["v"]])
    _, counts = write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers())
    assert read_shards(tmp_path / "corpus/train.parquet") == [["a"], ["b"]]
    assert counts["dropped"]["train"]["empty"] == 2


@pytest.mark.usefixtures("small_parts")
def test_a_part_without_a_story_of_its_own_has_no_shard(tmp_path: Path) -> None:
    write_shards(ask(tmp_path / "text", [["a"], ["a"], ["b"]], [["v"]]), tmp_path, tmp_path / "corpus", LocalWorkers())
    names = sorted(path.name for path in (tmp_path / "corpus").iterdir())
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "val.parquet"]
    assert list(read_stories(tmp_path / "corpus/train.parquet")) == ["a", "b"]


def test_small_files_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MB", 50)  # a file is smaller, two are larger
    params = ask(tmp_path / "text", [[f"{number:03}"] * 2 for number in range(11)])
    parts = shards.make_parts("train", files.find(params.paths, tmp_path, "paths"), params)
    assert [len(part.files) for part in parts] == [2, 2, 2, 2, 2, 1]
    assert [file.name for part in parts for file in part.files] == list(params.paths)


@pytest.mark.parametrize("max_stories", [None, 130])
@pytest.mark.usefixtures("small_parts")
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, max_stories: int | None) -> None:
    stories = numbered(5, 40)
    stories[3][10] = stories[0][0]
    params = ask(tmp_path / "text", stories, val_fraction=0.2, max_stories=max_stories)
    results, contents = [], []
    for count in (1, 2):
        folder = tmp_path / f"corpus{count}"
        results.append(write_shards(params, tmp_path, folder, LocalWorkers(count))[1])
        contents.append({path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()})
    assert results[0] == results[1]
    assert contents[0] == contents[1]
    assert results[0]["read"]["train"] == (max_stories or 200)


@pytest.mark.usefixtures("small_parts")
def test_the_files_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    names = []
    for count, in_shards in ((3, True), (2, True), (2, False), (3, True)):
        params = ask(tmp_path / "text", numbered(count, 30), numbered(1, 2), drop_validation_from_train=False)
        if in_shards:
            write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers())
        else:
            write_corpus(open_source(params, tmp_path), params, tmp_path / "corpus")
        names.append(sorted(path.name for path in (tmp_path / "corpus").iterdir()))
    assert [len(found) for found in names] == [4, 3, 2, 4]
    assert names[2] == ["train.parquet", "val.parquet"]


@pytest.mark.usefixtures("small_parts")
def test_a_damaged_file_leaves_the_old_corpus(tmp_path: Path) -> None:
    write_shards(ask(tmp_path / "text", numbered(3, 9)), tmp_path, tmp_path / "corpus", LocalWorkers())
    old = {path: path.read_bytes() for path in (tmp_path / "corpus").iterdir()}
    params = ask(tmp_path / "text", numbered(3, 10))
    (tmp_path / "text/train1.jsonl").write_text("{", encoding="utf-8")
    for count in (1, 2):
        with pytest.raises(UserError, match=r"train1\.jsonl: line 1: expected a JSON object"):
            write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers(count))
    assert {path: path.read_bytes() for path in (tmp_path / "corpus").iterdir()} == old


@pytest.mark.usefixtures("small_parts")
def test_what_identifies_the_text(tmp_path: Path) -> None:
    params = ask(tmp_path / "text", numbered(3, 9), numbered(2, 1), drop_validation_from_train=False)
    one = open_source(params, tmp_path)
    many, _ = write_shards(params, tmp_path, tmp_path / "corpus", LocalWorkers())
    assert (many.name, many.provenance) == (one.name, one.provenance)
    cut = params.model_copy(update={"max_stories": 12})
    source, _ = write_shards(cut, tmp_path, tmp_path / "corpus", LocalWorkers())
    assert source.provenance["paths"] == list(itertools.islice(one.provenance["paths"], 2))  # those that were read
