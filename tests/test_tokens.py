"""The token store: what is written is what is read, and anything else is a clear error."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tinylm.errors import UserError
from tinylm.pretokenizing import write_description, write_split
from tinylm.tokenizer import end_of_text_id, load_tokenizer
from tinylm.tokenizer_training import train_bpe
from tinylm.tokens import open_tokens

TOKENIZER = train_bpe(tiny.stories(64), 300, 2)
STORIES = [*tiny.stories(40), "😀 漢字 \x00", "x"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny.write_store(tmp_path, train_stories=40, val_stories=8)
    return tmp_path


def open_store(folder: Path) -> None:
    open_tokens(folder / "tokens", folder / "tokenizer.json")


def test_the_file_is_the_plain_stream_of_ids(tmp_path: Path) -> None:
    info, usage = write_split(tmp_path, "train", STORIES, TOKENIZER)
    end = end_of_text_id(TOKENIZER)
    expected = [i for story in STORIES for i in [*TOKENIZER.encode(story).ids, end]]
    assert np.fromfile(tmp_path / "train.bin", "<u2").tolist() == expected
    assert (info.tokens, info.stories) == (len(expected), len(STORIES))
    assert info.text_bytes == sum(len(story.encode()) for story in STORIES)
    assert (usage.stories_left, usage.text_bytes_left) == (0, 0)


def test_offsets_are_where_stories_start(tmp_path: Path) -> None:
    info, _ = write_split(tmp_path, "train", STORIES, TOKENIZER)
    ids, offsets = np.fromfile(tmp_path / "train.bin", "<u2"), np.fromfile(tmp_path / "train_offsets.bin", "<u8")
    assert len(offsets) == info.stories + 1
    for story, start, end in zip(STORIES, offsets, offsets[1:], strict=False):
        assert TOKENIZER.decode(ids[start : end - 1].tolist()) == story


def test_more_than_65536_ids_are_stored_in_four_bytes(tmp_path: Path) -> None:
    tokenizer = train_bpe(tiny.stories(64), 300, 2)
    tokenizer.add_tokens([f"<{n}>" for n in range(65_300)])
    info, _ = write_split(tmp_path, "train", ["<65299> a"], tokenizer)
    assert np.fromfile(tmp_path / "train.bin", "<u4").tolist()[0] == 300 + 65_299
    assert info.tokens == (tmp_path / "train.bin").stat().st_size // 4


@pytest.mark.parametrize("max_tokens", [200, 1000, 10**9])
def test_a_token_budget_keeps_whole_stories(tmp_path: Path, max_tokens: int) -> None:
    info, usage = write_split(tmp_path, "train", STORIES, TOKENIZER, max_tokens)
    assert info.tokens <= max_tokens
    assert info.stories + usage.stories_left == len(STORIES)
    assert info.text_bytes + usage.text_bytes_left == sum(len(story.encode()) for story in STORIES)
    if usage.stories_left:
        following = len(TOKENIZER.encode(STORIES[info.stories]).ids) + 1
        assert info.tokens + following > max_tokens


def test_a_budget_below_the_first_story(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no story of the train split fits into pretokenize.max_tokens = 5"):
        write_split(tmp_path, "train", STORIES, TOKENIZER, 5)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield from STORIES
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_split(tmp_path, "train", broken(), TOKENIZER)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_opening_gives_both_splits(store: Path) -> None:
    tokens = open_tokens(store / "tokens", store / "tokenizer.json")
    tokenizer = load_tokenizer(store / "tokenizer.json")
    first = tokens.train.tokens[: int(tokens.train.offsets[1]) - 1].tolist()
    assert tokenizer.decode(first) == tiny.stories(1)[0]
    assert len(tokens.val.offsets) == 8 + 1
    assert tokens.train.bytes_per_token == tokens.train.info.text_bytes / len(tokens.train.tokens)


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


def test_another_tokenizer(store: Path) -> None:
    (store / "tokenizer.json").write_text(train_bpe(tiny.stories(64), 310, 2).to_str(), encoding="utf-8")
    with pytest.raises(UserError, match="made with another tokenizer"):
        open_store(store)


def test_ids_beyond_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = train_bpe(tiny.stories(64), 300, 2)
    larger = train_bpe(tiny.stories(64), 340, 2)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    splits = {name: write_split(tmp_path / "tokens", name, STORIES, larger)[0] for name in ("train", "val")}
    write_description(tmp_path / "tokens", tmp_path / "tokenizer.json", tokenizer, splits)
    with pytest.raises(UserError, match=r"train\.bin: expected ids below 300, got 3\d\d"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found"), ("{", "not valid JSON"), (json.dumps({"version": 99}), "expected format version 1, got 99")],
)
def test_a_description_that_is_none(store: Path, content: str | None, message: str) -> None:
    path = store / "tokens" / "tokens.json"
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"tokens\.json: {message}"):
        open_store(store)
