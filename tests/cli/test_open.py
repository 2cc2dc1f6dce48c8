"""`tinylm open` shows the page in the browser, also with the learning curves of other runs."""

import webbrowser
from pathlib import Path

import pytest

from tests.support import report_data
from tests.support.runs import Runs
from tinylm.cli.main import main
from tinylm.cli.open import PAGE
from tinylm.experiments.sweep.plan import plan_of
from tinylm.experiments.sweep.space import parse_space
from tinylm.experiments.sweep.study import SweepStudy, open_study


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


@pytest.fixture
def runs(tmp_path: Path, opened: list[str]) -> Runs:
    """A complete run in the workspace, and the experiments s-000, s-001 and other."""
    made = Runs(tmp_path)
    for name, factor in (("s-000", 0.7), ("s-001", 0.5), ("other", 2)):
        made.run(factor)
        made.write("metrics/evaluate.json", f'{{"bits_per_byte": {factor}}}')
        made.commit(name)
    report_data.write_run(tmp_path)
    made.run()
    return made


def sweep() -> SweepStudy:
    space = parse_space(["train.peak_lr=1,2,3"])
    params = {"train": {"peak_lr": 1, "steps": 12}, "runtime": {"threads": 1}}
    return open_study("s", plan_of("grid", space, 0, params), space)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that fails; return its one line of error."""
    assert main(["open", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_other_runs_are_laid_over_the_page(opened: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open", "--with", "other", "s-000"]) == 0
    page = Path("comparisons/workspace_other_s-000.html").resolve()
    assert opened == [page.as_uri()]
    assert capsys.readouterr().out == f"{page}\n"
    assert '"name":"s-000"' in page.read_text(encoding="utf-8")


def test_the_best_trial_of_a_sweep_is_laid_over_the_page(
    opened: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pruned trial is none, however good its last validation was."""
    trials = sweep()
    for score in (0.7, 0.5):
        trials.complete(trials.begin(startup=1), score)
    pruned = trials.begin(startup=1)
    trials.report(pruned, {"step": 6, "loss": 0.2, "bits_per_byte": 0.1}, None)
    trials.give_up(pruned)
    assert main(["open", "--best", "s"]) == 0
    assert main(["open", "--with", "other", "--best", "s"]) == 0
    names = [Path(address).name for address in opened]
    assert names == ["workspace_s-001.html", "workspace_other_s-001.html"]


def test_a_sweep_without_a_complete_trial_is_refused(
    opened: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "--best", "s").endswith("error: s: no such sweep in .sweeps/; there are: none")
    trials = sweep()
    message = "error: s: no trial of this sweep is complete; the command that started it continues it"
    assert refused(capsys, "--best", "s") == message
    pruned = trials.begin(startup=1)
    assert refused(capsys, "--best", "s") == message
    trials.report(pruned, {"step": 6, "loss": 0.2, "bits_per_byte": 0.1}, None)
    trials.give_up(pruned)
    assert refused(capsys, "--best", "s") == message
    assert refused(capsys, "--best", "t") == "error: t: no such sweep in .sweeps/; there are: s"
    assert opened == []


def test_an_unknown_run_is_refused(opened: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--with", "nowhere").startswith("error: nowhere: neither an experiment nor a git revision")
    assert refused(capsys, "--with", "HEAD").endswith("has no plots/train.csv; train it again: dvc repro -f train")
    assert opened == []
