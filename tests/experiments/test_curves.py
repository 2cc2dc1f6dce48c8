"""Learning curves read from git and the workspace, their seconds, and when they can be compared."""

from pathlib import Path

import pytest

from tests.support.runs import Runs
from tinylm.base.errors import UserError
from tinylm.experiments.curves import Curve, cautions, choose_measure, place, read_curve


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(tmp_path)
    return Runs(tmp_path)


def values(curve: Curve, key: str) -> list[float]:
    return [row[key] for row in curve.val]


def test_a_curve_is_read_from_an_experiment_a_revision_and_the_workspace(runs: Runs) -> None:
    runs.run(factor=2)
    commit = runs.commit("worse")
    runs.run()
    assert values(read_curve("worse"), "loss") == values(read_curve(commit[:9]), "loss") == [8, 6, 4]
    here = read_curve("workspace")
    assert values(here, "loss") == [4, 3, 2]
    assert values(here, "bits_per_byte") == [2, 1.5, 1]
    assert values(here, "tokens") == [0, 1536, 3072]
    assert [(row["step"], row["loss"]) for row in here.train] == [(1, 10), (4, 2.5), (8, 1.25), (12, 10 / 12)]
    assert (here.name, here.tokenizer, here.stories) == ("workspace", "t1", ("c1", 8))


def test_seconds_are_summed_from_the_speed_and_interpolated(runs: Runs) -> None:
    """A step takes a second, and the first one four."""
    runs.run()
    curve = read_curve("workspace")
    assert values(curve, "seconds") == [0, 9, 15]
    assert [row["seconds"] for row in curve.train] == [4, 7, 11, 15]
    runs.write("plots/speed.csv", "step,tokens_per_second,memory_mb\n1,64,1\n4,256,1\n8,128,1\n12,256,1\n")
    assert values(read_curve("workspace"), "seconds") == [0, 4 + 3 + 4, 4 + 3 + 8 + 4]


def test_steps_whose_speed_was_not_measured_count_at_the_last_speed(runs: Runs) -> None:
    runs.run()
    runs.write("plots/speed.csv", "step,tokens_per_second,memory_mb\n1,64,1\n4,256,1\n8,128,1\n")
    curve = read_curve("workspace")
    assert values(curve, "seconds") == [0, 4 + 3 + 4, 4 + 3 + 8 + 8]
    assert curve.train[-1]["seconds"] == 4 + 3 + 8 + 8


def test_a_run_that_has_not_ended_has_its_curve_so_far(runs: Runs) -> None:
    runs.run()
    runs.write("plots/val.csv", "step,tokens,loss,bits_per_byte\n0,0,4,2\n6,1536,3,1.5\n")
    curve = read_curve("workspace")
    assert values(curve, "seconds") == [0, 9]
    assert [row["seconds"] for row in curve.train] == [4, 7, 11, 15]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("val", "step,tokens,loss,bits_per_byte\n", "plots/val.csv: expected rows of a run, found none"),
        ("train", "step,tokens,loss,bits_per_byte\n", "plots/train.csv: expected rows of a run, found none"),
        ("speed", "step,tokens_per_second\n", "plots/speed.csv: expected rows of a run, found none"),
        ("val", "step,loss\n0,4\n", "plots/val.csv: expected a column tokens, found none"),
        ("val", "step,tokens,loss\n0,0,low\n", "plots/val.csv: row 2: expected numbers, got "),
        ("speed", "step,tokens_per_second\n1,0\n", "plots/speed.csv: expected rising steps, and speeds above 0"),
        ("speed", "step,tokens_per_second\n1,nan\n", "plots/speed.csv: expected rising steps, and speeds above 0"),
        ("speed", "step,tokens_per_second\n4,9\n4,9\n", "plots/speed.csv: expected rising steps, and speeds above 0"),
    ],
)
def test_a_file_that_is_no_run_is_named(runs: Runs, name: str, text: str, message: str) -> None:
    runs.run()
    runs.write(f"plots/{name}.csv", text)
    runs.commit("broken")
    for source in ("broken", "workspace"):
        with pytest.raises(UserError) as error:
            read_curve(source)
        assert str(error.value).startswith(f"{source}: {message}")
        assert str(error.value).endswith("; train it again: dvc repro -f train")


@pytest.mark.parametrize("name", ["train", "val", "speed"])
def test_a_missing_file_is_named_with_its_commit(runs: Runs, name: str) -> None:
    runs.run()
    (runs.root / f"plots/{name}.csv").unlink()
    commit = runs.commit("old")
    with pytest.raises(UserError, match=f"^old: its commit {commit[:7]} has no plots/{name}.csv; train it again"):
        read_curve("old")
    with pytest.raises(UserError, match=f"^plots/{name}.csv: not found; run the pipeline first"):
        read_curve("workspace")


def test_an_unknown_name_is_a_mistake(runs: Runs) -> None:
    with pytest.raises(UserError, match="^nowhere: neither an experiment nor a git revision"):
        read_curve("nowhere")


def curve(runs: Runs, name: str, lossy: bool = False, **hashes: str) -> Curve:
    runs.run(lossy=lossy, **hashes)
    runs.commit(name)
    return read_curve(name)


def test_runs_are_compared_by_bits_per_byte_if_all_of_them_have_it(runs: Runs) -> None:
    one, other = curve(runs, "one"), curve(runs, "other", tokenizer="t2")
    assert choose_measure([one, other]) == "bits_per_byte"
    lossy, same = curve(runs, "lossy", lossy=True), curve(runs, "same", lossy=True)
    assert choose_measure([lossy, same]) == choose_measure([one, same]) == choose_measure([lossy]) == "loss"


def test_losses_per_token_of_different_tokenizers_are_refused(runs: Runs) -> None:
    one, lossy = curve(runs, "one"), curve(runs, "lossy", lossy=True, tokenizer="t2")
    with pytest.raises(UserError, match="^one and lossy: expected bits per byte or the same tokenizer, got") as error:
        choose_measure([one, lossy])
    assert str(error.value).endswith(" cannot be compared; use lossless ones (pretokenize.lossy: false)")
    runs.run(lossy=True)
    (runs.root / "dvc.lock").unlink()
    with pytest.raises(UserError, match="^workspace and workspace: expected bits per byte or the same tokenizer"):
        choose_measure([read_curve("workspace")] * 2)  # of unknown tokenizers


def test_runs_that_were_validated_on_other_stories_are_named(runs: Runs) -> None:
    one, same, other = curve(runs, "one"), curve(runs, "same", tokenizer="t2"), curve(runs, "other", corpus="c2")
    assert cautions([one, same]) == []
    (line,) = cautions([one, same, other])
    assert line.startswith("Caution: other was validated on other stories than one,")
    runs.run(val_stories=9)  # of the stage train: the page may be of an earlier run, as in a trial of a sweep
    assert len(cautions([one, read_curve("workspace")])) == 1


def test_the_path_of_a_comparison_names_its_runs() -> None:
    assert str(place(["HEAD~1", "feature/x"], ".png")) == "comparisons/HEAD_1_feature_x.png"
    assert str(place(["@"], ".png")) == "comparisons/runs.png"
