"""A few stories of a corpus of several row groups."""

from pathlib import Path

import pytest

from tinylm.base.errors import UserError
from tinylm.corpus import storage
from tinylm.generate.picking import pick_stories


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(storage, "STORIES_PER_ROW_GROUP", 7)
    with storage.writing_stories(tmp_path / "c.parquet") as writer:
        for n in range(50):
            writer.write(f"story {n}".encode())
    return tmp_path / "c.parquet"


def test_stories_are_picked_in_order_and_once(corpus: Path) -> None:
    picked = pick_stories(corpus, 20, seed=1)
    places = [int(story.split()[1]) for story in picked]
    assert len(places) == 20
    assert places == sorted(set(places))
    assert max(places) > 30
    assert pick_stories(corpus, 20, seed=1) == picked != pick_stories(corpus, 20, seed=2)


def test_more_than_there_are_gives_all(corpus: Path) -> None:
    assert pick_stories(corpus, 99, seed=1) == [f"story {n}" for n in range(50)]


def test_a_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `dvc repro download`"):
        pick_stories(tmp_path / "none.parquet", 1, 1)
