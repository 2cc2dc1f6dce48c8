"""What a finished experiment recorded, and one line if it has not ended."""

import re
from pathlib import Path

import pytest

from tests.support.planning import QUICK, Experiments
from tinylm.base.errors import UserError
from tinylm.experiments.recorded import find_named, read_recorded


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiments:
    monkeypatch.chdir(tmp_path)
    return Experiments(tmp_path)


def test_a_finished_experiment(experiments: Experiments) -> None:
    experiments.add("a", QUICK, 1000, 0.9)
    found = read_recorded("a")
    assert found.params == QUICK
    assert (found.training["tokens"], found.timing["seconds"], found.peak_memory) == (1000, 90.0, 600e6)
    assert found.seconds == 90.0
    assert (found.vocab_size, found.text_tokens, found.bits) == (4096, 4_000_000, 0.9)
    experiments.add("lossy", QUICK, 1000, None)
    assert read_recorded("lossy").bits is None


def test_the_time_of_a_compiled_run_begins_after_its_compilation(experiments: Experiments) -> None:
    steps = QUICK["train"]["steps"]
    experiments.add("compiled", QUICK, 300 * steps, 0.9, compiled=True)
    assert read_recorded("compiled").seconds == 90.0 - 300 / 10.0  # 300 tokens in its first step, at 10 per second


def test_an_experiment_that_has_not_ended(experiments: Experiments) -> None:
    with pytest.raises(UserError, match=r"^HEAD: git show .*plots/speed.csv"):
        read_recorded("HEAD")
    with pytest.raises(UserError, match=r"^nothing: neither an experiment"):
        read_recorded("nothing")
    experiments.add("odd", QUICK, 1000, 0.9, threads="two")
    with pytest.raises(
        UserError, match=r"^odd: metrics/train.json: threads: expected a whole number, got 'two'; run it"
    ):
        read_recorded("odd")


def test_experiments_by_their_names(experiments: Experiments) -> None:
    for name in ("s-2M-1M", "s-1M-1M", "s-other", "xs-1M-1M"):
        experiments.add(name, QUICK, 1000, 0.9)
    assert find_named(re.compile(r"s-[^-]+-[^-]+")) == ["s-1M-1M", "s-2M-1M"]
