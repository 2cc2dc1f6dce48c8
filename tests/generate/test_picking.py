"""Pick stories of a corpus with several row groups."""

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


def test_stories_are_distinct_and_in_order(corpus: Path) -> None:
    picked = pick_stories(corpus, 20, seed=1)
    rows = [int(story.split()[1]) for story in picked]
    assert len(rows) == 20
    assert rows == sorted(set(rows))
    assert max(rows) > 30
    assert pick_stories(corpus, 20, seed=1) == picked != pick_stories(corpus, 20, seed=2)


def test_asking_for_more_stories_than_there_are_gives_all(corpus: Path) -> None:
    assert pick_stories(corpus, 99, seed=1) == [f"story {n}" for n in range(50)]


def test_a_missing_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `dvc repro download`"):
        pick_stories(tmp_path / "none.parquet", 1, 1)
