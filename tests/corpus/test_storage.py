"""Corpus files: written and read in a stream, deterministic bytes, and errors for damaged files."""

import errno
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm.base.errors import UserError
from tinylm.corpus import storage
from tinylm.corpus.storage import STORIES_PER_ROW_GROUP, read_stories, writing_stories


def write(path: Path, stories: Iterable[str]) -> tuple[int, int]:
    with writing_stories(path) as writer:
        for story in stories:
            writer.write(story.encode())
    return writer.stories, writer.bytes


@settings(deadline=None)
@given(stories=st.lists(st.text(), min_size=1))
def test_stories_survive_the_round_trip(tmp_path_factory: pytest.TempPathFactory, stories: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.parquet"
    assert write(path, stories) == (len(stories), sum(len(story.encode()) for story in stories))
    assert list(read_stories(path)) == stories


def test_a_corpus_is_plain_parquet_in_row_groups(tmp_path: Path) -> None:
    stories = [f"story {n}" for n in range(2 * STORIES_PER_ROW_GROUP + 5)]
    write(tmp_path / "x.parquet", stories)
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.schema_arrow.equals(pa.schema([("text", pa.string())]))
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [STORIES_PER_ROW_GROUP, STORIES_PER_ROW_GROUP, 5]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}
    assert file.read().column("text").to_pylist() == stories
    assert list(read_stories(tmp_path / "x.parquet")) == stories


def test_the_same_stories_give_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        write(tmp_path / name, [f"story {n}" for n in range(10_000)])
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), writing_stories(tmp_path / "x.parquet") as writer:
        for n in range(10_000):
            writer.write(b"story %d" % n)
        assert not (tmp_path / "x.parquet").exists()
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.FileIO):
        left = 10_000

        def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data) or 0

    monkeypatch.setattr(storage, "open", FullDisk, raising=False)
    stories = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(20_000)]
    with pytest.raises(UserError, match=r"x\.parquet: no space left on the disk"):
        write(tmp_path / "x.parquet", stories)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.parquet: not found; run `dvc repro download`"):
        list(read_stories(tmp_path / "x.parquet"))


def test_an_empty_corpus(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", [])
    with pytest.raises(UserError, match=r"x\.parquet: holds no stories; run"):
        list(read_stories(tmp_path / "x.parquet"))
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.parquet: expected a Parquet file, but .*; run"):
        list(read_stories(tmp_path / "x.parquet"))


@pytest.mark.parametrize("damage", ["truncated", "other", "altered"])
def test_a_damaged_corpus(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.parquet"
    write(path, [hashlib.sha256(str(n).encode()).hexdigest() for n in range(10_000)])
    content = path.read_bytes()
    middle = len(content) // 2
    altered = content[:middle] + bytes(500) + content[middle + 500 :]
    path.write_bytes({"truncated": content[:-100], "other": b"Once upon a time" * 100, "altered": altered}[damage])
    with pytest.raises(UserError, match=r"x\.parquet: expected a Parquet file, but [^\n]*; run `dvc repro download`"):
        list(read_stories(path))


def test_a_file_without_a_text_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"story": ["one"], "text": [1]}), tmp_path / "number.parquet")
    with pytest.raises(UserError, match=r"number\.parquet: expected text in column 'text', found int64"):
        list(read_stories(tmp_path / "number.parquet"))
    pq.write_table(pa.table({"story": ["one"], "id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet: expected a column 'text', found 'story', 'id'"):
        list(read_stories(tmp_path / "other.parquet"))


def test_row_groups_of_long_stories_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "BYTES_PER_ROW_GROUP", 1000)
    stories = ["x" * 300] * 10
    write(tmp_path / "x.parquet", stories)
    metadata = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4, 4, 2]
    assert list(read_stories(tmp_path / "x.parquet")) == stories
