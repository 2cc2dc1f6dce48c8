"""Matches of texts in a corpus, compared with a brute-force search."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinylm.corpus.storage import writing_stories
from tinylm.generate.metrics import novelty
from tinylm.generate.metrics.novelty import LONGEST, longest_matches
from tinylm.generate.metrics.words import words_of

LITTLE = st.text(st.sampled_from("ab AB .'\n-é“”—😀\u3000"), max_size=30)


def write(path: Path, stories: Sequence[str]) -> Path:
    with writing_stories(path) as writer:
        for story in stories:
            writer.write(story.encode())
    return path


def search(text: str, stories: Sequence[str]) -> list[int]:
    """Find the same matches by comparing word by word."""
    words, others = words_of(text), [words_of(story) for story in stories]
    lengths = []
    for start in range(len(words)):
        length = 0
        while start + length < len(words) and any(
            words[start : start + length + 1] == other[position : position + length + 1]
            for other in others
            for position in range(len(other) - length)
        ):
            length += 1
        lengths.append(length)
    return lengths


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    texts=st.lists(LITTLE, min_size=1, max_size=4),
    stories=st.lists(LITTLE, min_size=1, max_size=4),
    slot_bits=st.sampled_from([1, 2, novelty.SLOT_BITS]),
)
def test_matches_equal_those_of_a_brute_force_search(
    tmp_path: Path, texts: list[str], stories: list[str], slot_bits: int
) -> None:
    """Also where n-grams share a slot of the hash table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "SLOT_BITS", slot_bits)
        found = longest_matches(texts, write(tmp_path / "corpus.parquet", stories))
    assert [lengths.tolist() for lengths in found] == [search(text, stories) for text in texts]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_words_are_those_of_words_of(tmp_path: Path, text: str) -> None:
    (found,) = longest_matches([text], write(tmp_path / "corpus.parquet", [text]))
    assert found.tolist() == list(range(len(words_of(text)), 0, -1))


def test_words_are_lower_case_and_without_punctuation() -> None:
    assert words_of("“Don't,” SAID Zoë—twice… 3 times: ÉÉ!") == ["don", "t", "said", "zoë", "twice", "3", "times", "ÉÉ"]


def test_a_match_stays_within_one_story(tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus.parquet", ["the cat sat", "on the mat"])
    (found,) = longest_matches(["The cat sat on the mat. A dog"], corpus)
    assert found.tolist() == [3, 2, 1, 3, 2, 1, 0, 0]


def test_long_matches_are_cut_at_the_limit(tmp_path: Path) -> None:
    text = " ".join(f"w{n}" for n in range(2 * LONGEST))
    (found,) = longest_matches([text], write(tmp_path / "corpus.parquet", ["x " + text]))
    assert found.max() == found[0] == LONGEST
    assert found[-1] == 1


def test_chunking_does_not_change_the_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stories = [f"once there was a cat named {name} who had {n} hats" for n, name in enumerate("abcdefgh")]
    texts = ["there was a cat named b", "who had 9 hats", "", "named c who had 2 hats and more"]
    corpus = write(tmp_path / "corpus.parquet", stories)
    whole = longest_matches(texts, corpus)
    monkeypatch.setattr(novelty, "BYTES_AT_ONCE", 1)
    for one, other in zip(whole, longest_matches(texts, corpus), strict=True):
        assert np.array_equal(one, other)
    assert [lengths.tolist() for lengths in whole][3] == [6, 5, 4, 3, 2, 1, 0, 0]
