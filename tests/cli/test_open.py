"""`tinylm open` shows the page in the browser."""

import webbrowser
from pathlib import Path

import pytest

from tinylm.cli.main import main
from tinylm.cli.open import PAGE


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to show; it opens all but those with "broken" in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    shown: list[str] = []

    def show(address: str) -> bool:
        shown.append(address)
        return "broken" not in address

    monkeypatch.setattr(webbrowser, "open", show)
    return shown


def write_page() -> Path:
    PAGE.parent.mkdir(parents=True)
    PAGE.write_text("<title>a run</title>")
    return PAGE.resolve()


def test_the_page_opens_and_its_path_is_shown(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    page = write_page()
    assert main(["open"]) == 0
    assert opened == [page.as_uri()]
    assert capsys.readouterr().out == f"{page}\n"


def test_without_a_page_it_says_how_to_get_one(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open"]) == 1
    expected = "error: plots/report.html: not found; write it with `make repro`, or fetch it with `dvc pull`"
    assert capsys.readouterr().err.startswith(expected)
    assert opened == []


def test_a_machine_without_windows_says_so(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even a browser for terminals is asked: it could not show the page."""
    page = write_page()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["open"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(page)
    assert second.startswith("no browser opens from here; copy the file")
    assert opened == []


def test_a_browser_that_does_not_start_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    monkeypatch.chdir(tmp_path / "broken")
    write_page()
    assert main(["open"]) == 0
    assert "no browser opens from here" in capsys.readouterr().out
