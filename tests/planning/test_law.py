"""Laws in files: which one a text has, and files that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.planning import LAW, points, quick
from tinylm.base.errors import UserError
from tinylm.planning.fit import Point, fit
from tinylm.planning.law import find_law
from tinylm.planning.scaling import describe, fit_runs, point_of, text_of, write
from tinylm.planning.sizes import Parameters

TEXT = text_of(quick(), 4096, 4_000_000)


def write_law(folder: Path, name: str = "stories", noise: float = 0.001, **data: Any) -> None:
    runs = points(noise)
    write(name, TEXT | data, runs, fit(runs, resamples=5), folder)


def test_a_law_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert find_law(quick(), tmp_path / "nowhere") is None
    write_law(tmp_path)
    law = find_law(quick(), tmp_path)
    assert law
    assert law.predict(Parameters(1, 800_000, 1), 2e6) == pytest.approx(LAW.predict(8e5, 2e6), rel=0.01)
    assert (law.counts, law.vocab_size) == ("blocks", 4096)
    assert law.path.endswith("/stories.json")
    assert law.parameters == (55_728, 2_242_064)
    assert law.tokens == (1e6, 4e6)


def test_only_a_law_of_this_text_is_used(tmp_path: Path) -> None:
    write_law(tmp_path, variant="v2")
    write_law(tmp_path, "own", source="files", paths=["a.txt"])
    assert find_law(quick(), tmp_path) is None
    assert find_law(quick(download__variant="v2"), tmp_path)
    assert find_law(quick(download__source="files", download__paths=["b.txt"]), tmp_path) is None
    assert find_law(quick(download__source="files", download__paths=["a.txt"]), tmp_path)


def test_a_part_of_a_source_stands_for_all_of_it(tmp_path: Path) -> None:
    own = quick(download__source="files", download__paths=["a.txt"])
    runs = points()
    text = text_of(own, 4096, 4_000_000, part_of="tinystories")
    write("part", text, runs, fit(runs, resamples=5), tmp_path)
    for params in (quick(), own):
        assert find_law(params, tmp_path)
    assert find_law(quick(download__variant="v2"), tmp_path) is None
    assert find_law(quick(download__source="files", download__paths=["b.txt"]), tmp_path) is None
    page = (tmp_path / "part.md").read_text()
    assert "Training text: 4,000,000 tokens of a.txt, a part of tinystories v1, repeated in runs" in page


def test_only_own_files_are_a_part() -> None:
    with pytest.raises(UserError, match="--part-of: expected runs with download.source=files, got tinystories"):
        text_of(quick(), 4096, 4_000_000, part_of="tinystories")


def test_of_several_the_better_one_is_used(tmp_path: Path) -> None:
    write_law(tmp_path, "a", noise=0.02)
    write_law(tmp_path, "b", noise=0.001)
    write_law(tmp_path, "c", noise=0.02)
    law = find_law(quick(), tmp_path)
    assert law
    assert law.path.endswith("b.json")


def test_how_far_beyond_its_runs(tmp_path: Path) -> None:
    write_law(tmp_path)
    law = find_law(quick(), tmp_path)
    assert law
    assert law.beyond(Parameters(9, 2_242_064, 9), 4e6) == 1
    assert law.beyond(Parameters(9, 4_484_128, 9), 4e6) == pytest.approx(2)
    assert law.beyond(Parameters(9, 55_728 // 3, 9), 4e6) == pytest.approx(3)
    assert law.beyond(Parameters(9, 2_000_000, 9), 20e6) == pytest.approx(5)
    assert law.beyond(Parameters(9, 2_000_000, 9), 0.5e6) == pytest.approx(2)


@pytest.mark.parametrize("change", [{"law": {"E": 1.0}}, {"law": 3}, {"counts": "some"}, {"tokens": [1]}, None])
def test_a_file_that_is_no_law(tmp_path: Path, change: dict[str, Any] | None) -> None:
    write_law(tmp_path)
    path = tmp_path / "stories.json"
    content = json.loads(path.read_text()) | (change or {})
    path.write_text(json.dumps(content) if change else "{")
    with pytest.raises(UserError, match=r"stories\.json: .*; fit it again: tinylm scale --show$"):
        find_law(quick(), tmp_path)


def test_what_is_written(tmp_path: Path) -> None:
    runs = points(0.001)
    found = fit(runs, resamples=5)
    files = write("stories", TEXT, runs, found, tmp_path)
    assert [path.name for path in files] == ["stories.json", "stories.md", "stories.png"]
    content = json.loads(files[0].read_text())
    assert content["law"]["alpha"] == found.law.alpha
    assert content["range95"]["alpha"] == list(found.intervals["alpha"])
    assert content["held_out"]["error"] == found.held_out.error
    assert [run["times_seen"] for run in content["runs"][:3]] == [0.25, 0.5, 1.0]
    text = files[1].read_text()
    assert text.startswith(f"L(N, D) = {found.law.E:.4f} + ")
    assert "N: parameters without the embeddings and the head." in text
    assert text.endswith("(stories.png)\n")
    assert all(point.name in text for point in runs)
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert text.startswith("\n".join(describe(TEXT, found, runs)))


def test_too_few_runs() -> None:
    for few in (points()[:5], points()[:3] * 3, points()[::3] * 3, points()[:6] * 2, []):
        with pytest.raises(UserError, match=r"^expected at least 6 finished runs of 3 sizes and 3 budgets, found"):
            fit_runs(few)


def test_a_point() -> None:
    assert point_of("a", quick(), 4096, 7, 0.9) == Point("a", 792_192, 1_316_480, 7, 0.9)
    with pytest.raises(UserError, match="^a: expected bits per byte, found none, because the tokenizer is lossy"):
        point_of("a", quick(), 4096, 7, None)
