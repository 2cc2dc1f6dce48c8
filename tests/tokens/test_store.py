"""The token store: what is written is read back; anything else is a clear error."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny
from tinylm.base import atomic, checksums
from tinylm.base.checksums import Content, Request
from tinylm.base.errors import UserError
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer
from tinylm.tokens.description import write_description
from tinylm.tokens.store import check_tokens, open_tokens
from tinylm.train_tokenizer.training import train_bpe


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny.write_store(tmp_path, train_stories=40, val_stories=8)
    return tmp_path


def open_store(folder: Path) -> None:
    open_tokens(folder / "tokens", folder / "tokenizer.json")


def test_opening_returns_both_splits(store: Path) -> None:
    tokens = open_tokens(store / "tokens", store / "tokenizer.json")
    tokenizer = load_tokenizer(store / "tokenizer.json")
    first = tokens.train.tokens[: int(tokens.train.offsets[1]) - 1].tolist()
    assert tokenizer.decode(first) == tiny.stories(1)[0]
    assert len(tokens.val.offsets) == 8 + 1
    assert tokens.train.bytes_per_token == tokens.train.info.text_bytes / len(tokens.train.tokens)


def test_a_file_that_cannot_be_mapped_is_read(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    mapped = open_tokens(store / "tokens", store / "tokenizer.json")
    monkeypatch.setattr(np, "memmap", refuse)
    read = open_tokens(store / "tokens", store / "tokenizer.json")
    assert type(read.train.tokens) is np.ndarray
    assert read.train.tokens.tolist() == mapped.train.tokens.tolist()
    assert read.val.offsets.tolist() == mapped.val.offsets.tolist()
    assert "train.bin: cannot be memory-mapped ([Errno 19] No such device): reading all 0 MB into memory" in caplog.text


def test_a_truncated_file(store: Path) -> None:
    path = store / "tokens" / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"train\.bin: expected \d+ bytes .* got \d+; run the pretokenize stage again"):
        open_store(store)


def test_an_altered_file(store: Path) -> None:
    path = store / "tokens" / "val.bin"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"val\.bin: altered since it was written"):
        open_store(store)


def test_a_missing_file(store: Path) -> None:
    (store / "tokens" / "val_offsets.bin").unlink()
    with pytest.raises(UserError, match=r"val_offsets\.bin: not found"):
        open_store(store)


@pytest.mark.parametrize("name", ["text_bytes", "stories"])
def test_offsets_that_do_not_match_the_description(store: Path, name: str) -> None:
    """They would make all bits per byte wrong."""
    path = store / "tokens" / "tokens.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["splits"]["val"][name] += 1
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(UserError, match=r"val_(text_)?offsets\.bin: .*; run the pretokenize stage again"):
        open_store(store)


def test_another_tokenizer(store: Path) -> None:
    (store / "tokenizer.json").write_text(train_bpe(tiny.stories(64), 310, 2).to_str(), encoding="utf-8")
    with pytest.raises(UserError, match="made with a different tokenizer"):
        open_store(store)


def test_ids_beyond_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = train_bpe(tiny.stories(64), 300, 2)
    larger = train_bpe(tiny.stories(64), 340, 2)
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    corpus = tiny.write_corpus(tmp_path / "corpus.parquet", tiny.stories(40))
    splits = {name: write_split(tmp_path / "tokens", name, corpus, larger)[0] for name in ("train", "val")}
    write_description(
        tmp_path / "tokens", tmp_path / "tokenizer.json", tokenizer.get_vocab_size(), end_of_text_id(tokenizer), splits
    )
    with pytest.raises(UserError, match=r"train\.bin: expected ids below 300, got 3\d\d"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found"), ("{", "not valid JSON"), (json.dumps({"version": 1}), "version: expected 2 or 3, got 1")],
)
def test_a_malformed_description(store: Path, content: str | None, message: str) -> None:
    path = store / "tokens" / "tokens.json"
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"tokens\.json: {message}"):
        open_store(store)


@pytest.fixture
def cached(store: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the smallest files of the store be cached; returns the files that are read from now on."""
    monkeypatch.chdir(store)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(checksums, "SMALL", 0)
    (store / ".dvc").mkdir()
    reads: list[Path] = []
    original = checksums._Reading.read

    def counting(self: Any, request: Request) -> Content:
        reads.append(request.path)
        return original(self, request)

    monkeypatch.setattr(checksums._Reading, "read", counting)
    return reads


def test_the_files_are_read_once(store: Path, cached: list[Path]) -> None:
    open_store(store)
    assert sorted(cached) == sorted((store / "tokens").glob("*.bin"))
    cached.clear()
    open_store(store)
    check_tokens(store / "tokens")
    assert cached == []


def test_what_pretokenize_wrote_is_not_read(store: Path, cached: list[Path]) -> None:
    tiny.write_store(store / "again")
    open_store(store / "again")
    assert cached == []


def test_a_file_that_was_altered_after_a_check(store: Path, cached: list[Path]) -> None:
    open_store(store)
    test_an_altered_file(store)


def test_ids_beyond_the_vocabulary_are_refused_each_time(tmp_path: Path, cached: list[Path]) -> None:
    """Their verdict is in the cache, too."""
    test_ids_beyond_the_vocabulary(tmp_path / "other")
    cached.clear()
    with pytest.raises(UserError, match=r"train\.bin: expected ids below 300, got 3\d\d"):
        open_store(tmp_path / "other")
    assert cached == []


def test_offsets_that_do_not_start_at_zero(store: Path) -> None:
    path = store / "tokens" / "val_offsets.bin"
    offsets = np.fromfile(path, "<u8")
    offsets[0] = 1
    offsets.tofile(path)
    description = json.loads((store / "tokens/tokens.json").read_text(encoding="utf-8"))
    description["splits"]["val"]["offsets_sha256"] = atomic.sha256(path)
    (store / "tokens/tokens.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(UserError, match=r"val_offsets\.bin: expected a first offset of 0, got 1"):
        open_store(store)
