"""The picture of the losses: what it says, and that colour-blind readers can tell its lines apart."""

from pathlib import Path

import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from tests.support.accessibility import SHAPE_CONTRAST, contrast, least_distance
from tinylm.train.log.loss_curve import draw_loss_curve

TRAIN = [{"step": step, "loss": 6.0 / step} for step in (1, 2, 3)]
VAL = [{"step": step, "loss": loss, "bits_per_byte": loss / 2} for step, loss in ((0, 6.0), (2, 2.5), (3, 3.5))]


def drawn(monkeypatch: pytest.MonkeyPatch, path: Path, val: list[dict[str, float | None]]) -> Axes:
    with monkeypatch.context() as patch:
        patch.setattr(pyplot, "close", lambda figure: None)
        draw_loss_curve(TRAIN, val, 6.2, path)
    axes = pyplot.gca()
    pyplot.close(axes.figure)
    return axes


def test_it_names_the_best_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    axes = drawn(monkeypatch, tmp_path / "a.png", VAL)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training",
        "validation, best: 2.500 nats per token, 1.250 bits per byte",
        "uniform guess: 6.20",
    ]
    best = next(line for line in axes.lines if len(line.get_xdata()) == 1)
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [2.5])
    without_bytes = [row | {"bits_per_byte": None} for row in VAL]
    legend = drawn(monkeypatch, tmp_path / "b.png", without_bytes).get_legend()
    assert legend.get_texts()[1].get_text() == "validation, best: 2.500 nats per token"


def test_its_colours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    colours = {to_hex(line.get_color()) for line in drawn(monkeypatch, tmp_path / "a.png", VAL).lines}
    assert len(colours) == 3
    assert least_distance(colours) >= 20
    assert all(contrast(colour, "white") >= SHAPE_CONTRAST for colour in colours)
