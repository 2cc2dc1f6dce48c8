"""The picture of the learning curves of two models: its lines, its ranges and its file."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from tests.support.accessibility import SHAPE_CONTRAST, contrast, least_distance
from tests.support.runs import Runs
from tinylm.experiments.curves import read_curve
from tinylm.experiments.curves_picture import COLOURS, make_figure, mean_over_runs, write_picture


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs a1, a2 and b; a step of b takes half a second."""
    monkeypatch.chdir(tmp_path)
    made = Runs(tmp_path)
    for name, factor, speed in (("a1", 1, 256), ("a2", 2, 256), ("b", 0.5, 512)):
        made.run(factor, speed)
        made.commit(name)
    return made


@pytest.fixture
def figure() -> Iterator[Figure]:
    made = make_figure([read_curve("a1"), read_curve("a2")], [read_curve("b")])
    yield made
    plt.close(made)


def drawn(figure: Figure, panel: int) -> list[list[list[float]]]:
    """Return x and y of each line of a panel: training and validation of A, then of B."""
    return [[list(line.get_xdata()), list(line.get_ydata())] for line in figure.axes[panel].lines]


def test_each_panel_has_the_losses_of_both(figure: Figure) -> None:
    assert [axes.get_xlabel() for axes in figure.axes] == [
        *("steps", "tokens", "seconds of training, without validation and saving"),
    ]
    steps, tokens, seconds = (drawn(figure, panel) for panel in range(3))
    mean, b = [3, 2.25, 1.5], [1, 0.75, 0.5]
    assert steps[1::2] == [[[0, 6, 12], mean], [[0, 6, 12], b]]
    assert tokens[1::2] == [[[0, 1536, 3072], mean], [[0, 1536, 3072], b]]
    assert seconds[1::2] == [[[0, 9, 15], mean], [[0, 4.5, 7.5], b]]
    assert seconds[0] == [[4, 7, 11, 15], [7.5, 7.5 / 4, 7.5 / 8, 7.5 / 12]]
    assert seconds[2][0] == [2, 3.5, 5.5, 7.5]


def test_a_model_has_a_colour_and_validation_a_dash_pattern(figure: Figure) -> None:
    for axes in figure.axes:
        assert [line.get_color() for line in axes.lines] == [COLOURS[0]] * 2 + [COLOURS[1]] * 2
        assert [line.get_linestyle() for line in axes.lines] == ["-", "-", "-", "--"]
        assert axes.get_yscale() == "log"
    assert figure.axes[1].xaxis.get_major_formatter()(3e6) == "3M"


def test_several_seeds_have_their_range_as_a_band(figure: Figure) -> None:
    for axes in figure.axes:
        (band,) = (shape for shape in axes.collections if isinstance(shape, PolyCollection))
        assert {tuple(point) for point in band.get_paths()[0].vertices} >= {
            (axes.lines[1].get_xdata()[n], height)
            for n, heights in enumerate([(2, 4), (1.5, 3), (1, 2)])
            for height in heights
        }


def test_the_legend_names_the_runs_and_the_axis_the_measure(figure: Figure, runs: Runs) -> None:
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["A: a1 and 1 more seeds, their mean and range", "B: b", "thin: training loss"]
    assert figure.axes[0].get_ylabel() == "bits per byte, logarithmic"
    runs.run(lossy=True)
    lossy = make_figure([read_curve("workspace")], [read_curve("a1")])
    assert lossy.axes[0].get_ylabel() == "nats per token, logarithmic"
    assert drawn(lossy, 0)[3] == [[0, 6, 12], [4, 3, 2]]
    plt.close(lossy)


def test_only_the_steps_that_all_seeds_have_are_averaged() -> None:
    """A run that was stopped early has fewer."""
    rows = [[{"step": s, "tokens": s, "seconds": s * n, "loss": 4.0 * n} for s in range(6 - n)] for n in (1, 3)]
    mean = mean_over_runs(rows, "loss")
    assert mean.axes == {"step": [0, 1, 2], "tokens": [0, 1, 2], "seconds": [0, 2, 4]}
    assert (mean.loss, mean.low, mean.high) == ([8] * 3, [4] * 3, [12] * 3)


def test_the_picture_is_written_beside_others(runs: Runs) -> None:
    assert write_picture(["a1", "a2"], ["b"]) == ["learning curves: comparisons/a1_b.png"]
    assert (runs.root / "comparisons/a1_b.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_runs_on_other_stories_are_drawn_with_a_caution(runs: Runs) -> None:
    runs.run(corpus="c2")
    caution, where = write_picture(["a1"], ["workspace"])
    assert caution.startswith("Caution: workspace was validated on other stories than a1")
    assert where == "learning curves: comparisons/a1_workspace.png"


def test_a_run_without_its_curve_has_no_picture(runs: Runs) -> None:
    (runs.root / "plots/speed.csv").unlink()
    commit = runs.commit("old")
    (line,) = write_picture(["a1"], ["old"])
    assert line.startswith(f"no picture of the learning curves: old: its commit {commit[:7]} has no plots/speed.csv;")
    assert not (runs.root / "comparisons").exists()


def test_colour_blind_readers_can_tell_its_colours_apart() -> None:
    assert least_distance(COLOURS) >= 20
    assert all(contrast(colour, "white") >= SHAPE_CONTRAST for colour in COLOURS)
