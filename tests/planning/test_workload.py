"""What a parameter file asks for."""

from pathlib import Path

import pytest

from tests.support.planning import quick, workload
from tests.support.tiny import ROOT
from tinylm.base.errors import UserError
from tinylm.base.params import read_params
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer, training_flop_per_token
from tinylm.planning.random_tokens import random_store
from tinylm.planning.workload import estimate_text_tokens, workload_of
from tinylm.train.params import TrainParams
from tinylm.train.step import count_steps, make_sequences


def test_the_preset() -> None:
    run = workload()
    assert (run.steps, run.tokens_per_step, run.tokens) == (3000, 2048, 6_144_000)
    assert run.size.total == Transformer(run.model, 4096).size().parameters
    assert run.flop == run.tokens * training_flop_per_token(run.model, run.size.total)
    assert run.text_tokens == 20_000 * 225
    assert run.times_seen == pytest.approx(6.144 / 4.5)
    assert run.validation_tokens == 7 * 128 * 225 * 2


def test_what_a_run_recorded_replaces_estimates() -> None:
    run = workload_of(quick(), 1000, 2_000_000, 10)
    assert (run.vocab_size, run.text_tokens, run.steps) == (1000, 2_000_000, 10)
    assert run.size.embedding == 128_000


@pytest.mark.parametrize("sequences", [{}, {"train__sequences": "strided"}, {"train__align": "story"}])
def test_epochs_are_as_many_steps_as_training_makes(sequences: dict[str, str]) -> None:
    params = quick(train__steps=None, train__epochs=2.5, download__max_stories=300, **sequences)
    split = random_store(300 * 225, 4096).train
    made = count_steps(params[TrainParams], make_sequences(params[TrainParams], split, params[ModelParams].context))
    assert workload_of(params).steps == made > 1


def test_the_tokens_of_each_source(tmp_path: Path) -> None:
    assert estimate_text_tokens(quick(download__max_stories=None)) == 2_119_719 * 225
    assert estimate_text_tokens(quick(pretokenize__max_tokens=5000)) == 5000
    assert estimate_text_tokens(quick(download__source="sample")) == 20_000 * 200 * 0.98
    (tmp_path / "a.txt").write_bytes(b"x" * 80_000)
    files = quick(download__source="files", download__paths=[str(tmp_path / "a.txt")])
    assert estimate_text_tokens(files) == 20_000 * 0.98


def test_the_tokenizers() -> None:
    assert workload(train_tokenizer__kind="gpt2").vocab_size == 50_257
    with pytest.raises(UserError, match=r"nowhere\.json: not found"):
        workload(train_tokenizer__kind="file", train_tokenizer__path="nowhere.json")


@pytest.mark.parametrize(
    "path", ["params.yaml", *sorted(f"presets/{p.name}" for p in (ROOT / "presets").glob("*.yaml"))]
)
def test_every_preset_can_be_planned(path: str) -> None:
    assert workload_of(read_params(ROOT / path)).steps > 0


def test_random_stories_are_as_long_as_those_of_tinystories() -> None:
    store = random_store(1000, 300)
    assert store.train.story_tokens.tolist() == [225, 225, 225, 225, 100]
    assert store.train.tokens.max() == 299
    assert random_store(1000, 70_000).train.tokens.max() > 1 << 16
