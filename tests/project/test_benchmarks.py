"""Benchmarks measure what users run."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import __main__ as main
from benchmarks import gpu, learning, report, training, writing
from benchmarks.learning import Trained
from benchmarks.models import Size
from benchmarks.report import Row, to_markdown
from tests.support import tiny
from tinylm.model.params import ModelParams
from tinylm.tokens.store import TokenStore
from tinylm.train.params import TrainParams


def test_training_is_timed_with_the_kernels_that_users_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.deterministic: true` selects other kernels on a GPU."""
    assert tiny.PARAMS[TrainParams].deterministic
    events: list[Any] = []

    def train_step(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        events.append(step)
        return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(training, "make_deterministic", events.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", events.append)
    trainer: Any = SimpleNamespace(hardware=tiny.FP32_ON_CPU, train_step=train_step)
    training.ours(trainer)
    assert events == [torch.device("cpu"), *range(training.STEPS), False]


@pytest.mark.parametrize("best", [1e-5, 1e-3, 1e-2, 0.3])
def test_the_rate_of_a_peer_is_better_than_its_neighbours(best: float) -> None:
    results = learning.bracket(lambda rate: Trained(abs(math.log(rate / best)), ""))
    scores = [results[rate].score for rate in sorted(results)]
    assert 0 < scores.index(min(scores)) < len(scores) - 1
    ratios = [high / low for low, high in itertools.pairwise(sorted(results))]
    assert ratios == pytest.approx([learning.RATE_FACTOR] * len(ratios))


def test_scores_of_several_seeds_are_averaged() -> None:
    row = learning.mean_row("this project", [Trained(1.0, "9 steps"), Trained(2.0, "8 steps"), Trained(1.5, "7 steps")])
    assert row.value == 1.5
    assert row.note == "mean of 3 seeds, 1.0000 to 2.0000; the first: 9 steps"


def test_learning_by_tokens_trains_as_many_for_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule has to know the number of steps before the first one."""
    ran: list[Any] = []

    def make_trainer(size: Any, tokens: Any, hardware: Any, seed: int) -> Any:
        trainer = SimpleNamespace(tokens_per_step=2_048, steps=learning.MOST_STEPS, model=seed)
        trainer.train_step = lambda step: ran.append((seed, step, trainer.steps))
        return trainer

    monkeypatch.setattr(learning, "make_trainer", make_trainer)
    monkeypatch.setattr(learning, "evaluate", lambda seed, tokens: SimpleNamespace(bits_per_byte=float(seed)))
    nothing: Any = None
    row = learning.learn_tokens(SimpleNamespace(name="1.3M"), nothing, nothing, 3 * 2_048 + 5, seeds=2)  # type: ignore[arg-type]
    assert ran == [(seed, step, 3) for seed in (1, 2) for step in range(3)]
    assert (row.value, row.what) == (1.5, "1.3M, 0.0 M tokens: this project")


def test_a_tuned_baseline_has_a_column_of_its_own() -> None:
    rows = [Row("nanoGPT", 1234.5, "tokens/s", 1.0, "slow", 0.5), Row("matmul", 0.123, "GFLOP/s")]
    assert to_markdown(rows).splitlines() == [
        "| what | value | unit | times the baseline | times the tuned baseline |  |",
        "| --- | ---: | --- | ---: | ---: | --- |",
        "| nanoGPT | 1,234 | tokens/s | 1.00 | 0.50 | slow |",
        "| matmul | 0.123 | GFLOP/s |  |  |  |",
    ]
    assert "tuned" not in to_markdown(rows[1:])


def test_the_section_gpu_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["make bench", "gpu"])
    with pytest.raises(SystemExit, match="^error: gpu: expected a GPU that torch can use, found none$"):
        main.main()


def test_the_section_gpu_measures_training_and_writing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_tokens: TokenStore
) -> None:
    """With models of a few weights on the CPU in place of the GPU."""
    size = Size("tiny", tiny.PARAMS[ModelParams].model_copy(update={"context": 256}), 300, 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA X")
    monkeypatch.setattr(gpu, "resolve_hardware", lambda runtime: tiny.FP32_ON_CPU)
    monkeypatch.setattr(gpu, "sizes", lambda: [size])
    monkeypatch.setattr(gpu, "make_tokens", lambda *arguments: tiny_tokens)
    monkeypatch.setattr(gpu, "BATCHES", (2,))
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    monkeypatch.setattr(training, "SQUARE", 64)
    monkeypatch.setattr(writing, "NEW_TOKENS", 20)
    for section in (training, writing):
        monkeypatch.setattr(section, "REPETITIONS", 1)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["make bench", "gpu"])
    main.main()
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "GPU NVIDIA X" in table
    for row in ("matmul, fp32", "tiny, batch 2: this project, muon", "tiny, 32 stories at once: this project, fp32"):
        assert f"| {row} |" in table


def test_what_runs_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for name, section in main.SECTIONS.items():
        monkeypatch.setattr(section, "bench", lambda arguments, name=name: ran.append(name))
    monkeypatch.setattr("sys.argv", ["make bench"])
    main.main()
    assert set(ran) == set(main.SECTIONS) - {"gpu", "exports", "engines", "layouts"}
