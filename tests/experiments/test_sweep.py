"""Sweeps over DVC experiments, with real commands in a clone: seeds, random trials, summaries, comparisons."""

import json
import re
import subprocess

import pytest

from tests.support.clone import Clone
from tests.support.sweeping import sweep, sweep_clone, table

SCORE = 3  # column of the bits per byte, behind the name and the two parameters that differ

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose runs take twelve steps; the pipeline ran."""
    return sweep_clone(ran, tmp_path_factory.mktemp("sweep") / "clone")


def test_seeds_two_at_a_time_and_their_mean(clone: Clone) -> None:
    output = sweep(clone, "--name", "seeds", "--jobs", "2", "train.peak_lr=1e-3", "train.seed=1,2")
    assert "| mean over seeds" in output
    scores = [float(row[SCORE]) for row in table(output[output.index("| experiment") :])]
    assert scores[0] < scores[1]
    mean = re.search(r"\| seeds-\d+ seeds-\d+ +\| 0.001 +\| ([\d.]+) ", output)
    assert mean
    assert float(mean[1]) == pytest.approx(sum(scores) / 2, abs=1e-4)
    output = clone.python("-m", "tinylm", "compare", "HEAD", "seeds-000", "--seeds")
    assert "seeds-000 seeds-001" in output
    assert "A has one run: its seeds are taken to vary as much as those of the other" in output


def test_one_is_compared_with_another_and_with_itself(clone: Clone) -> None:
    output = clone.python("-m", "tinylm", "compare", "seeds-000", "HEAD")
    assert re.search(r"^B is better by 0\.\d{4} bits per byte \(95%: 0\.\d{4} to 0\.\d{4}\)$", output, re.MULTILINE)
    assert "one run of each: the interval knows the noise of the stories and not that of the seeds" in output
    output = clone.python("-m", "tinylm", "compare", "workspace", "HEAD")
    assert "no difference can be told: A and B score every story alike" in output


def test_all_experiments_stand_beside_what_is_committed(clone: Clone) -> None:
    rows = {row[0]: row for row in table(sweep(clone, "--show"))}
    assert {"main", "seeds-000", "seeds-001"} <= rows.keys()
    score = json.loads(clone.git("show", "HEAD:metrics/evaluate.json"))
    assert f"{score['bits_per_byte']:.4f}" in rows["main"]
    assert "main" not in sweep(clone, "--show", "*")


def test_random_trials_go_on_where_they_ended(clone: Clone) -> None:
    """What is drawn here changes no score, so that no trial trains."""
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


def test_a_value_that_cannot_be_together_with_the_others_fails_alone(clone: Clone) -> None:
    output = sweep(clone, "--name", "heads", "model.heads=3")
    assert "heads-000: model.heads=3: cannot be: params.yaml has 1 mistake: model.heads: expected a divisor" in output
    assert table(output[output.index("| experiment") :])[0][-1].startswith("failed: params.yaml has 1 mistake")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "train.typo=1,2"], "error: train.typo: is not in params.yaml"),
        (["sweep", "--name", "seeds", "train.seed=7,8"], "error: the sweep seeds was begun with --search grid"),
        (["sweep", "--show", "nothing"], "error: nothing: neither a sweep nor an experiment; there are: "),
        (["compare", "seeds-000", "nothing"], "error: nothing: neither an experiment nor a git revision"),
        (
            ["compare", "--a", "HEAD", "seeds-000", "--b", "drawn-000"],
            "error: HEAD and seeds-000 differ in train.peak_lr",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(clone: Clone, words: list[str], message: str) -> None:
    assert mistake(clone, *words).startswith(message)


def mistake(clone: Clone, *words: str) -> str:
    """The one line of a command that fails."""
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
