"""The blind rating sheet: written for the stories, and read back when filled in."""

import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.base.errors import UserError
from tinylm.experiments.ratings import read_sheets
from tinylm.generate.ratings_sheet import _guarded, _id, write_sheet

SOURCES = {"model": ['one story, "said" he', "two\nlines"], "human": ["a third ¶ story", "a fourth"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sheet(tmp_path, SOURCES)
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "ratings.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, name: str, marks: dict[str, str], delimiter: str = ",") -> Path:
    """Write a copy in which each story (by its text) has the same mark for all criteria."""
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "grammar", "coherence", "fun", "story"], delimiter=delimiter)
        writer.writeheader()
        for row in rows(folder):
            writer.writerow(row | dict.fromkeys(("grammar", "coherence", "fun"), marks.get(row["story"], "")))
    return folder / name


def test_the_sheet_contains_all_stories_and_no_source(folder: Path) -> None:
    assert {row["story"] for row in rows(folder)} == {text for texts in SOURCES.values() for text in texts}
    sheet = (folder / "ratings.csv").read_text(encoding="utf-8-sig")
    assert not any(source in sheet for source in SOURCES)
    key = json.loads((folder / "ratings_key.json").read_text())
    assert sorted(key.values()) == ["human", "human", "model", "model"]
    assert [row["id"] for row in rows(folder)] == sorted(key)


@given(st.text())
def test_spreadsheets_read_ids_as_text(text: str) -> None:
    assert re.fullmatch(r"s[0-9a-f]{10}", _id(text))


@given(st.sampled_from(["", " ", "\n", "\u3000"]), st.sampled_from("=+-@＝＋－＠"), st.text())
def test_spreadsheets_read_formulas_as_text(space: str, sign: str, text: str) -> None:
    for story in (space + sign + text, "\t" + text, "\r" + text):
        assert _guarded(story) == f"'{story}"


@given(st.text().filter(lambda text: not text.strip()[:1] or text[:1].isalpha()))
def test_other_stories_are_unchanged(text: str) -> None:
    assert _guarded("A" + text) == "A" + text
    assert _guarded('"' + text) == '"' + text


def test_a_story_that_looks_like_a_formula_can_be_rated(tmp_path: Path) -> None:
    """A spreadsheet may save it with or without the quote that escapes it."""
    stories = ['=HYPERLINK("http://x")', "-1+2", "@SUM(A1)", "Once"]
    write_sheet(tmp_path, {"model": stories})
    assert {row["story"] for row in rows(tmp_path)} == {*(f"'{story}" for story in stories[:3]), "Once"}
    sheet = fill(tmp_path, "s.csv", {row["story"]: "3" for row in rows(tmp_path)})
    sheet.write_text(sheet.read_text().replace("'=", "=").replace("'-", "-"))
    assert read_sheets([sheet], tmp_path / "ratings_key.json")["model"]["fun"].stories == 4


def test_marks_of_several_raters_are_combined(folder: Path) -> None:
    stories = [*SOURCES["model"], *SOURCES["human"]]
    first = fill(folder, "ann.csv", dict(zip(stories, ["1", "2,5", "5", "4"], strict=True)), ";")
    second = fill(folder, "ben.csv", {stories[0]: "2"})
    means = read_sheets([first, second], folder / "ratings_key.json")
    model, human = means["model"]["fun"], means["human"]["grammar"]
    assert (model.mean, model.stories, model.marks) == (pytest.approx((1 + 2.5 + 2) / 3), 2, 3)
    assert (human.mean, human.stories, human.marks) == (4.5, 2, 2)
    assert (human.interval.low, human.interval.high) == (4, 5)


@pytest.mark.parametrize("mark", ["6", "-1", "good", "nan"])
def test_an_invalid_mark_is_refused(folder: Path, mark: str) -> None:
    sheet = fill(folder, "s.csv", {"a fourth": mark})
    with pytest.raises(UserError, match=rf"s\.csv, line \d+: grammar: expected a number from 0 to 5, got '{mark}'"):
        read_sheets([sheet], folder / "ratings_key.json")


def test_a_sheet_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    sheet = fill(folder, "s.csv", {"a fourth": "3"})
    write_sheet(folder, {"model": ["new story"]})
    with pytest.raises(
        UserError, match=r"line 2: expected a story of .*ratings_key\.json, got .* of another run; pass its key"
    ):
        read_sheets([sheet], folder / "ratings_key.json")


def test_other_files_are_refused(folder: Path) -> None:
    key = folder / "ratings_key.json"
    with pytest.raises(UserError, match=r"no marks; fill in grammar, coherence, fun with 0 to 5"):
        read_sheets([folder / "ratings.csv"], key)
    (folder / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"x\.csv: expected the columns of ratings\.csv, found no id, grammar"):
        read_sheets([folder / "x.csv"], key)
    (folder / "x.csv").write_bytes(b"id,grammar\n\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_sheets([folder / "x.csv"], key)
    with pytest.raises(UserError, match="none.csv: not found"):
        read_sheets([folder / "none.csv"], key)
    with pytest.raises(UserError, match="run the generate stage, which writes it"):
        read_sheets([folder / "ratings.csv"], folder / "none.json")
