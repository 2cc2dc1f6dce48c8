"""A blind sheet goes out, and filled sheets come back."""

import csv
import json
from pathlib import Path

import pytest

from tinylm.errors import UserError
from tinylm.judging.ratings import read_sheets, write_sheet

SOURCES = {"model": ['one story, "said" he', "two\nlines"], "people": ["a third ¶ story", "a fourth"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sheet(tmp_path, SOURCES)
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "ratings.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, name: str, marks: dict[str, str], delimiter: str = ",") -> Path:
    """A copy with the same mark for all criteria, by the story's text."""
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "grammar", "coherence", "fun", "story"], delimiter=delimiter)
        writer.writeheader()
        for row in rows(folder):
            writer.writerow(row | dict.fromkeys(("grammar", "coherence", "fun"), marks.get(row["story"], "")))
    return folder / name


def test_the_sheet_holds_all_stories_and_no_source(folder: Path) -> None:
    assert {row["story"] for row in rows(folder)} == {text for texts in SOURCES.values() for text in texts}
    sheet = (folder / "ratings.csv").read_text(encoding="utf-8-sig")
    assert not any(source in sheet for source in SOURCES)
    key = json.loads((folder / "ratings_key.json").read_text())
    assert sorted(key.values()) == ["model", "model", "people", "people"]
    assert [row["id"] for row in rows(folder)] == sorted(key)


def test_marks_of_several_people_come_together(folder: Path) -> None:
    stories = [*SOURCES["model"], *SOURCES["people"]]
    first = fill(folder, "ann.csv", dict(zip(stories, ["1", "2,5", "5", "4"], strict=True)), ";")
    second = fill(folder, "ben.csv", {stories[0]: "2"})
    means = read_sheets([first, second], folder / "ratings_key.json")
    model, people = means["model"]["fun"], means["people"]["grammar"]
    assert (model.mean, model.stories, model.marks) == (pytest.approx((1 + 2.5 + 2) / 3), 2, 3)
    assert (people.mean, people.stories, people.marks) == (4.5, 2, 2)
    assert (people.interval.low, people.interval.high) == (4, 5)


@pytest.mark.parametrize("mark", ["6", "-1", "good", "nan"])
def test_a_mark_that_is_none(folder: Path, mark: str) -> None:
    sheet = fill(folder, "s.csv", {"a fourth": mark})
    with pytest.raises(UserError, match=rf"s\.csv, line \d+: grammar: expected a number from 0 to 5, got '{mark}'"):
        read_sheets([sheet], folder / "ratings_key.json")


def test_a_sheet_of_another_run(folder: Path, tmp_path: Path) -> None:
    sheet = fill(folder, "s.csv", {"a fourth": "3"})
    write_sheet(folder, {"model": ["new story"]})
    with pytest.raises(UserError, match="is of another run than"):
        read_sheets([sheet], folder / "ratings_key.json")


def test_files_that_are_no_filled_sheets(folder: Path) -> None:
    key = folder / "ratings_key.json"
    with pytest.raises(UserError, match=r"no marks; fill in grammar, coherence, fun from 0 to 5"):
        read_sheets([folder / "ratings.csv"], key)
    (folder / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"x\.csv: expected the columns of ratings\.csv, found no id, grammar"):
        read_sheets([folder / "x.csv"], key)
    (folder / "x.csv").write_bytes(b"id,grammar\n\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_sheets([folder / "x.csv"], key)
    with pytest.raises(UserError, match="none.csv: not found"):
        read_sheets([folder / "none.csv"], key)
    with pytest.raises(UserError, match="the generate stage writes it"):
        read_sheets([folder / "ratings.csv"], folder / "none.json")
