"""Words are counted as GPT-2's pattern splits the text, whatever the spaces, in any number of processes."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.corpus import storage
from tinylm.corpus.storage import writing_stories
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS
from tinylm.train_tokenizer.counting import count_pieces, count_words, count_words_of
from tinylm.workers.processes import LocalWorkers

PATTERN = pre_tokenizers.ByteLevel(add_prefix_space=False)


def library(stories: list[str]) -> Counter[bytes]:
    """Count the words with the library's pre-tokenizer."""
    words = (word for story in stories for word, _ in PATTERN.pre_tokenize_str(story))
    return Counter(bytes(map(BYTE_SYMBOLS.index, word)) for word in words)


SPACES = st.text("ab .'s1é\n\t\r\x1c\x85\u00a0\u2003\u3000", max_size=14)


@given(st.lists(st.one_of(SPACES, st.text()), max_size=5))
@example(["", " ", "a ", " a", "a  b", "a\n b", "a\u2003 b", "a \u2003b"])
@example(["a\t \nb", "a\u2003 \u2003b"])  # spaces between other white space begin no word
@example(["don't  I'll we've"] * 2)
def test_words_are_those_of_the_library(stories: list[str]) -> None:
    assert count_words_of(stories) == library(stories)


def test_bytes_have_gpt2s_symbols() -> None:
    assert sorted(BYTE_SYMBOLS) == sorted(pre_tokenizers.ByteLevel.alphabet())


def test_stories_are_split_at_spaces_only_where_each_begins_a_word() -> None:
    assert count_pieces([b"a b", b"a  b"]) == {b"a": 2, b" b": 1, b"  b": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 row groups: enough for two processes."""
    path = tmp_path_factory.mktemp("corpus") / "train.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "STORIES_PER_ROW_GROUP", 16)
        with writing_stories(path) as writer:
            for story in tiny.stories(256):
                writer.write(story.encode())
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_all_row_groups_are_counted(corpus: Path, workers: int) -> None:
    assert count_words(corpus, LocalWorkers(workers)) == library(tiny.stories(256))


@pytest.mark.parametrize("story", [b"once \xff upon", b"once  \xff upon"])
def test_a_story_that_is_not_utf8(tmp_path: Path, story: bytes) -> None:
    with writing_stories(tmp_path / "train.parquet") as writer:
        writer.write(story)
    with pytest.raises(UserError, match=r"train\.parquet: expected UTF-8, but .*; run `dvc repro -f download`"):
        count_words(tmp_path / "train.parquet", LocalWorkers())
