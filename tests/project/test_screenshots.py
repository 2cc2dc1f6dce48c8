"""`make screenshots` draws both pages of a run, and the committed pictures are small."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.support import report_data
from tests.support.browser import open_browser
from tests.support.tiny import PARAMS, ROOT
from tinylm.base import atomic
from tinylm.report.inputs import read_run
from tinylm.report.page import build_page
from tools import screenshots

NAMES = ("report", "serve")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the repository."""
    for name in ("ROOT", "IMAGES", "REPORT", "MODEL"):
        monkeypatch.setattr(screenshots, name, tmp_path / getattr(screenshots, name).relative_to(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.torture
def test_both_pages_are_drawn(root: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_browser():
        pass  # skips without a browser
    report_data.write_run(root)
    atomic.write_text(screenshots.REPORT, build_page(read_run(root), PARAMS.values("train"), None))
    shutil.copytree(tiny_model, screenshots.MODEL, dirs_exist_ok=True)
    screenshots.main()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["docs/images/report.png", "docs/images/serve.png"]
    for name, width in zip(NAMES, (screenshots.REPORT_WIDTH, screenshots.SERVE_WIDTH), strict=True):
        with Image.open(screenshots.IMAGES / f"{name}.png") as picture:
            assert picture.width == width * screenshots.SCALE
            assert picture.height > 900
            assert len(picture.convert("RGB").getcolors(256) or ()) > 20  # not blank


def test_without_a_run(root: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: plots/report.html: expected the outputs of a run; run: make repro$"):
        screenshots.main()


def test_without_a_browser(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write_text(screenshots.REPORT, "")
    screenshots.MODEL.mkdir(parents=True)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"^error: no chromium .* in the PATH; install Chromium and its driver"):
        screenshots.main()


def test_a_picture_that_is_too_large(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(screenshots, "MOST_BYTES", 50)
    Image.effect_noise((40, 40), 50).save(tmp_path / "noise.png")
    with pytest.raises(SystemExit, match=r"^error: a.png: expected at most 50 bytes, got [\d,]+; lower SCALE$"):
        screenshots.save((tmp_path / "noise.png").read_bytes(), root / "a.png")


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_pictures(name: str) -> None:
    path = ROOT / f"docs/images/{name}.png"
    assert path.stat().st_size <= screenshots.MOST_BYTES
    with Image.open(path) as picture:
        assert picture.format == "PNG"
