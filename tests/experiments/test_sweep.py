"""Sweeps of DVC experiments, with real commands in a clone: seeds, random trials, summaries, comparisons."""

import json
import re
import subprocess

import pytest

from tests.support.clone import Clone
from tests.support.sweeping import sweep, sweep_clone, table

SCORE = 3  # column of the bits per byte, after the name and the two parameters that differ

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline ran, with runs of twelve steps."""
    return sweep_clone(ran, tmp_path_factory.mktemp("sweep") / "clone")


def test_two_seeds_in_parallel_and_their_mean(clone: Clone) -> None:
    output = sweep(clone, "--name", "seeds", "--jobs", "2", "train.peak_lr=1e-3", "train.seed=1,2")
    assert "| mean over seeds" in output
    scores = [float(row[SCORE]) for row in table(output[output.index("| experiment") :])]
    assert scores[0] < scores[1]
    mean = re.search(r"\| seeds-\d+ seeds-\d+ +\| 0.001 +\| ([\d.]+) ", output)
    assert mean
    assert float(mean[1]) == pytest.approx(sum(scores) / 2, abs=1e-4)
    output = clone.python("-m", "tinylm", "compare", "HEAD", "seeds-000", "--seeds")
    assert "seeds-000 seeds-001" in output
    assert "A has one run: its variance over seeds is assumed to equal that of the other model" in output
    assert output.endswith("learning curves: comparisons/HEAD_seeds-000.png\n")
    assert (clone.root / "comparisons/HEAD_seeds-000.png").stat().st_size > 10_000


def test_trials_are_laid_over_a_copy_of_the_page(clone: Clone) -> None:
    page = clone.root / "plots/report.html"
    before = page.read_text(encoding="utf-8")
    code = "from tinylm.experiments.overlay import write_overlay; print(write_overlay(['HEAD', 'seeds-000']))"
    overlaid = (clone.root / clone.python("-c", code).strip()).read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == before
    assert clone.git("status", "--porcelain") == ""
    assert re.findall('"name":"([^"]+)","style":"strong"', overlaid)[:3] == ["this run", "HEAD", "seeds-000"]
    same = re.compile('<section id="(?!curves)(.*?)</section>', re.DOTALL)  # also the parameters, read from dvc.lock
    assert same.findall(overlaid) == same.findall(before)
    assert len(same.findall(before)) == 7


def test_an_experiment_is_compared_with_another_and_with_itself(clone: Clone) -> None:
    output = clone.python("-m", "tinylm", "compare", "seeds-000", "HEAD")
    assert re.search(r"^B is better by 0\.\d{4} bits per byte \(95%: 0\.\d{4} to 0\.\d{4}\)$", output, re.MULTILINE)
    assert "one run of each: the interval covers the noise of the stories but not of the seeds" in output
    output = clone.python("-m", "tinylm", "compare", "workspace", "HEAD")
    assert "no difference: A and B have the same loss on every story" in output
    assert json.loads(clone.python("-m", "tinylm", "compare", "seeds-000", "HEAD", "--json"))["better"] == "b"


def test_all_experiments_are_shown_next_to_the_commit(clone: Clone) -> None:
    rows = {row[0]: row for row in table(sweep(clone, "--show"))}
    assert {"main", "seeds-000", "seeds-001"} <= rows.keys()
    score = json.loads(clone.git("show", "HEAD:metrics/evaluate.json"))
    assert f"{score['bits_per_byte']:.4f}" in rows["main"]
    assert "main" not in sweep(clone, "--show", "*")


def test_a_random_search_continues_where_it_ended(clone: Clone) -> None:
    """The parameter drawn here changes no score, so no trial trains."""
    words = ("--name", "drawn", "--search", "random", "--seed", "3", "generate.temperature=log(1e-1,1e1)")
    first = sweep(clone, *words, "--trials", "1")
    both = sweep(clone, *words, "--trials", "2")
    assert "drawn-000: generate" in first
    assert "drawn-000: generate" not in both
    assert "drawn-001: generate" in both
    assert len(table(both[both.index("| experiment") :])) == 2
    drawn = [float(value) for value in re.findall(r"generate.temperature=(\S+)", first + both)]
    assert len(set(drawn)) == 2
    assert all(0.1 <= value <= 10 for value in drawn)


def test_an_invalid_combination_of_values_fails_alone(clone: Clone) -> None:
    output = sweep(clone, "--name", "heads", "model.heads=3")
    message = "invalid combination: params.yaml has 1 mistake: model.heads: expected a divisor"
    assert f"heads-000: model.heads=3: {message}" in output
    assert table(output[output.index("| experiment") :])[0][-1].startswith("failed: params.yaml has 1 mistake")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "train.typo=1,2"], "error: train.typo: not in params.yaml"),
        (["sweep", "--name", "seeds", "train.seed=7,8"], "error: the sweep seeds was started with --search grid"),
        (["sweep", "--show", "nothing"], "error: nothing: neither a sweep nor an experiment; there are: "),
        (["compare", "seeds-000", "nothing"], "error: nothing: neither an experiment nor a git revision"),
        (
            ["compare", "--a", "HEAD", "seeds-000", "--b", "drawn-000"],
            "error: HEAD and seeds-000 differ in train.peak_lr",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(clone: Clone, words: list[str], message: str) -> None:
    assert mistake(clone, *words).startswith(message)


def mistake(clone: Clone, *words: str) -> str:
    """Run a command that fails; return its one line of error."""
    command = ["python", "-m", "tinylm", *words]
    done = subprocess.run(command, cwd=clone.root, env=clone.environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_experiments_of_an_earlier_commit_are_shown_by_name(clone: Clone) -> None:
    before = table(sweep(clone, "--show", "seeds-*"))
    clone.git("commit", "--quiet", "--allow-empty", "--message", "later")
    rows = table(sweep(clone, "--show", "seeds-*"))
    assert rows == before
    assert {(row[0], row[-1]) for row in rows} == {("seeds-000", "complete"), ("seeds-001", "complete")}
    assert mistake(clone, "sweep", "--show").startswith("error: there are no experiments")
