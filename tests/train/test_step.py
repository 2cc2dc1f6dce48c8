"""A run is a pure function of its parameters and data, and writes the documented outputs."""

import csv
import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from tests.support import tiny
from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware, has_bf16
from tinylm.evaluate.outputs import write_score
from tinylm.evaluate.score import score_split
from tinylm.model.folder import list_checkpoints, load_model, trained_steps
from tinylm.model.transformer import Transformer
from tinylm.scoring.windows import default_stride
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import TokenStore
from tinylm.train.optim.schedule import learning_rate_factor
from tinylm.train.outputs import Folders
from tinylm.train.run import run_training
from tinylm.train.step import Trainer, count_steps, make_sequences

MODEL_KEYS = ("architecture", "dropout", "qk_norm", "context", "layers")
COMPILED = {"compile": True, "threads": 2}
BF16_ON_CPU = Hardware(torch.device("cpu"), "bf16", 1)


def run(folders: Folders, runtime: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    model = tiny.model_params(**{key: changes.pop(key) for key in MODEL_KEYS if key in changes})
    run_training(model, tiny.train_params(**changes), tiny.runtime_params(**runtime or {}), folders)
    return json.loads((folders.metrics / "train.json").read_text())


def beside(folders: Folders, name: str) -> Folders:
    """The same inputs, with other folders for the outputs."""
    root = folders.model.parent / name
    outputs = {key: root / key for key in ("model", "checkpoints", "metrics", "plots")}
    return replace(folders, **outputs)


def hashes(folders: Folders) -> dict[str, str]:
    """SHA-256 of every output of a run that does not depend on the clock."""
    files = [
        f for out in (folders.model, folders.checkpoints, folders.metrics, folders.plots) for f in out.rglob("*.*")
    ]
    root = folders.model.parent
    return {str(f.relative_to(root)): atomic.sha256(f) for f in sorted(files) if not f.name.startswith("speed")}


def rows(path: Path) -> list[dict[str, float]]:
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def make_trainer(tokens: TokenStore, hardware: Hardware = tiny.FP32_ON_CPU, seed: int = 0, **changes: Any) -> Trainer:
    keys = ("architecture", "dropout", "qk_norm")
    model = tiny.make_model(seed=seed, **{key: changes.pop(key) for key in keys if key in changes})
    model.compute_dtype = hardware.dtype
    return Trainer(model.train(), tiny.train_params(**changes), tokens, hardware, compiled=False)


def test_a_run_writes_the_documented_outputs(folders: Folders) -> None:
    metrics = run(folders)
    assert {path.name for path in folders.model.iterdir()} == {
        *("config.json", "model.safetensors", "generation_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "training.json", "README.md"),
    }
    assert [step for step, _ in list_checkpoints(folders.checkpoints)] == [0, 6, 12]
    assert [row["step"] for row in rows(folders.plots / "train.csv")] == [1, 4, 8, 12]
    assert [row["step"] for row in rows(folders.plots / "speed.csv")] == [1, 4, 8, 12]
    assert [row["step"] for row in rows(folders.plots / "val.csv")] == [0, 6, 12]
    assert (folders.plots / "loss_curve.png").read_bytes()[:4] == b"\x89PNG"
    assert metrics["tokens"] == 12 * 8 * 64
    assert abs(metrics["first_loss"] - metrics["guess_loss"]) < 0.1
    assert (metrics["device"], metrics["precision"], metrics["threads"]) == ("cpu", "fp32", 1)
    assert json.loads((folders.metrics / "speed.json").read_text())["tokens_per_second"] > 0


def test_the_model_folder_records_its_origin(folders: Folders, tiny_tokens: TokenStore) -> None:
    run(folders)
    origin = json.loads((folders.model / "training.json").read_text())
    assert origin["data"]["train_tokens_sha256"] == tiny_tokens.train.info.sha256
    assert origin["params"]["train"]["steps"] == 12
    assert origin["versions"]["torch"] == torch.__version__


def test_the_model_folder_has_a_card_of_what_training_knows(folders: Folders) -> None:
    metrics = run(folders)
    card, interval = ModelCard.load(folders.model / "README.md"), metrics["range95"]["val_loss"]
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert card.data.license is card.data.datasets is None  # training does not know the text's origin
    assert f"{metrics['parameters']:,} parameters" in card.text
    assert f"| training | 12 steps, {metrics['tokens']:,} tokens |" in card.text
    assert (
        f"{metrics['val_loss']:.4f} nats per token (95%: {interval['low']:.4f} to {interval['high']:.4f})" in card.text
    )
    assert "on the 8 held-out stories by which the weights were chosen" in card.text
    assert "The card in `artifacts/card/` says it" in card.text


def test_it_learns(folders: Folders) -> None:
    metrics = run(folders, steps=60, val_every=30)
    assert metrics["val_loss"] < 0.6 * metrics["guess_loss"]
    assert metrics["val_bits_per_byte"] < 3


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_equal_runs_write_equal_bytes(folders: Folders, optimizer: str) -> None:
    again = beside(folders, "again")
    run(folders, optimizer=optimizer)
    torch.manual_seed(999)  # whatever ran before
    run(again, optimizer=optimizer)
    assert hashes(folders) == hashes(again)
    assert len(hashes(folders)) > 12


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_learning_rate_follows_the_schedule_that_is_set(tiny_tokens: TokenStore, decay: str) -> None:
    trainer = make_trainer(tiny_tokens, decay=decay, peak_lr=0.01, steps=20, warmup_steps=4, final_lr_fraction=0.1)
    for step in (0, 4, 9, 19):
        trainer.set_learning_rate(step)
        factor = learning_rate_factor(step, 20, 4, 0.1, decay)  # type: ignore[arg-type]
        assert trainer.optimizers.learning_rate == pytest.approx(0.01 * factor)


def test_another_seed_is_another_run(folders: Folders) -> None:
    other = beside(folders, "other")
    run(folders, seed=1)
    run(other, seed=2)
    assert hashes(folders)["model/model.safetensors"] != hashes(other)["model/model.safetensors"]


def test_live_samples_change_no_byte(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    watched = beside(folders, "watched")
    gpt2 = {"architecture": "gpt2", "qk_norm": False, "dropout": 0.2}  # dropout draws from the global generator
    run(folders, **gpt2)
    with caplog.at_level("INFO", logger="tinylm"):
        run(watched, {"sample_every": 4}, **gpt2)
    assert caplog.text.count("--- a story at step") == 4
    assert hashes(folders) == hashes(watched)


def test_the_best_weights_are_kept(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 3.0, 4.0])
    monkeypatch.setattr(Trainer, "validate", lambda self: tiny.validation(next(losses)))
    metrics = run(folders)
    assert (metrics["val_loss"], metrics["best_step"], trained_steps(folders.model)) == (3.0, 6, 6)
    best, last = (folders.checkpoints / f"step_{step:06d}" / "model.safetensors" for step in (6, 12))
    assert (folders.model / "model.safetensors").read_bytes() == best.read_bytes() != last.read_bytes()


def test_the_saved_model_has_the_validation_loss_that_was_reported(folders: Folders, tiny_tokens: TokenStore) -> None:
    metrics = run(folders, val_stories=None)
    model = load_model(folders.model)
    trainer = Trainer(model, tiny.train_params(val_stories=None), tiny_tokens, tiny.FP32_ON_CPU, compiled=False)
    assert trainer.validate().loss == pytest.approx(metrics["val_loss"], rel=1e-6)


def test_train_json_and_evaluate_json_give_the_same_figures_with_the_same_intervals(
    folders: Folders, tiny_tokens: TokenStore, tmp_path: Path
) -> None:
    """Training validates on the whole split here. Of a sample, it reports the same losses of fewer stories."""
    train = run(folders, val_stories=None)
    model, val = load_model(folders.model), tiny_tokens.val
    score = score_split(model, val, tiny_tokens.end_of_text, default_stride(64), batch=8, bar=False)
    evaluate = write_score(score, val, load_tokenizer(folders.tokenizer), tmp_path)
    assert train["val_stories"] == evaluate["split"]["stories"]
    for name in ("loss", "bits_per_byte"):
        assert train[f"val_{name}"] == pytest.approx(evaluate[name], rel=1e-5)
        assert train["range95"][f"val_{name}"] == pytest.approx(evaluate["range95"][name], rel=1e-5)


def test_micro_batches_give_the_same_gradient(tiny_tokens: TokenStore) -> None:
    whole, parts = make_trainer(tiny_tokens), make_trainer(tiny_tokens, micro_batch_size=2)
    losses = [trainer._accumulate_gradients(3) for trainer in (whole, parts)]
    assert torch.allclose(*losses)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_a_step_is_a_function_of_its_number(tiny_tokens: TokenStore) -> None:
    """Including dropout: a run can resume at any step."""
    gpt2 = {"architecture": "gpt2", "qk_norm": False, "dropout": 0.3}
    first, second = make_trainer(tiny_tokens, **gpt2), make_trainer(tiny_tokens, **gpt2)
    torch.rand(7)
    assert torch.equal(first._accumulate_gradients(5), second._accumulate_gradients(5))
    assert not torch.equal(first._accumulate_gradients(5), first._accumulate_gradients(6))


def test_every_micro_batch_of_every_step_and_seed_has_its_own_dropout_mask(
    tiny_tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks are equal for equal seed, step and first row, and different otherwise."""

    def drawn(seed: int, step: int, micro: int) -> list[tuple[float, ...]]:
        gpt2 = {"architecture": "gpt2", "qk_norm": False, "dropout": 0.3}
        trainer, draws = make_trainer(tiny_tokens, micro_batch_size=micro, **gpt2), []
        trainer.p = trainer.p.model_copy(update={"seed": seed})
        plain = trainer._loss.forward

        def spy(*batch: torch.Tensor) -> torch.Tensor:
            state = torch.random.get_rng_state()
            draws.append(tuple(torch.rand(4).tolist()))
            torch.random.set_rng_state(state)
            return plain(*batch)

        monkeypatch.setattr(trainer._loss, "forward", spy)
        trainer._accumulate_gradients(step)
        return draws

    masks = [mask for seed in (1, 2) for step in (0, 1) for mask in drawn(seed, step, 2)]
    assert len(masks) == len(set(masks)) == 16
    assert drawn(2, 1, 2) == masks[12:]
    assert drawn(2, 1, 4) == masks[12::2]  # a function of the first row, whatever the size


def test_the_gradient_is_clipped(tiny_tokens: TokenStore) -> None:
    trainer = make_trainer(tiny_tokens, grad_clip=1e-3)
    clipped = []
    trainer.optimizers.step = lambda scaler: clipped.append(  # type: ignore[method-assign]
        math.sqrt(sum(float((w.grad**2).sum()) for w in trainer.model.parameters()))
    )
    _, norm = trainer.train_step(0)
    assert float(norm) > 1e-3
    assert clipped == [pytest.approx(1e-3, rel=1e-3)]


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this CPU has no bf16 arithmetic")
def test_bf16_learns_like_float32(folders: Folders) -> None:
    exact = run(folders, steps=40)
    fast = run(beside(folders, "bf16"), steps=40, precision="bf16")
    assert fast["precision"] == "bf16"
    assert fast["val_loss"] == pytest.approx(exact["val_loss"], rel=0.03)
    assert fast["val_loss"] != exact["val_loss"]


def test_loss_scaling_changes_nothing(tiny_tokens: TokenStore) -> None:
    """With and without a scaler, in float32, since fp16 itself needs a GPU."""
    plain, scaled = make_trainer(tiny_tokens), make_trainer(tiny_tokens)
    scaled.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
    norms = [trainer.train_step(0)[1] for trainer in (plain, scaled)]
    assert torch.allclose(*norms, rtol=1e-4)
    for a, b in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_epochs_become_steps(tiny_tokens: TokenStore) -> None:
    tokens = len(tiny_tokens.train.tokens)
    p = tiny.train_params(steps=None, epochs=2.0, sequences="strided", stride=32)
    sequences = make_sequences(p, tiny_tokens.train, 64)
    assert sequences.per_epoch == 1 + math.ceil((tokens - 65) / 32)
    assert count_steps(p, sequences) == math.ceil(2 * sequences.per_epoch / p.batch_size)
    drawn = tiny.train_params(steps=None, epochs=0.5)
    assert count_steps(drawn, make_sequences(drawn, tiny_tokens.train, 64)) == math.ceil(
        0.5 * tokens / 64 / p.batch_size
    )


@pytest.mark.parametrize("sequences", ["random", "strided"])
def test_aligned_sequences_start_at_a_story(tiny_tokens: TokenStore, sequences: str) -> None:
    trainer = make_trainer(tiny_tokens, sequences=sequences, align="story")
    starts = np.concatenate([trainer.sequences.starts(step, np.arange(8, dtype=np.uint64), 8) for step in range(20)])
    before = tiny_tokens.train.tokens[starts[starts > 0] - 1]
    assert len(before) > 100
    assert set(before.tolist()) == {tiny_tokens.end_of_text}


def test_strided_sequences_cover_every_token_in_each_epoch(tiny_tokens: TokenStore) -> None:
    p = tiny.train_params(sequences="strided", steps=None, epochs=1.0)
    sequences = make_sequences(p, tiny_tokens.train, 64)
    order = np.arange(p.batch_size, dtype=np.uint64)
    starts = np.concatenate([sequences.starts(step, order, p.batch_size) for step in range(count_steps(p, sequences))])
    last = len(tiny_tokens.train.tokens) - 65
    assert set(starts[: sequences.per_epoch].tolist()) == {*range(0, last, 64), last}


def test_epochs_of_overlapping_sequences_are_reported_as_set(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    """Sequences that overlap by half contain each token twice per epoch."""
    caplog.set_level("INFO", "tinylm")
    metrics = run(folders, sequences="strided", stride=32, steps=None, epochs=1.0, batch_size=4)
    assert metrics["epochs"] == pytest.approx(1.0, abs=0.05)
    assert metrics["times_seen"] == pytest.approx(2.0, abs=0.1)
    assert re.search(
        r"sequences x 64 tokens: 1\.0 epochs; each of [\d,]+ training tokens is seen 2\.0 times", caplog.text
    )


def test_a_warm_up_longer_than_the_epochs(tiny_tokens: TokenStore) -> None:
    with pytest.raises(UserError, match=r"warmup_steps: expected at most the \d+ steps of the run, got 5000"):
        make_trainer(tiny_tokens, steps=None, epochs=1.0, warmup_steps=5000)


def test_a_short_text_shortens_the_context(tmp_path: Path, folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    tiny.write_store(tmp_path / "short", vocab_size=258, train_stories=3, val_stories=1)
    short = replace(folders, tokens=tmp_path / "short" / "tokens", tokenizer=tmp_path / "short" / "tokenizer.json")
    metrics = run(short, context=4096, steps=2)
    assert "model.context shortened from 4096 to" in caplog.text
    config = json.loads((short.model / "config.json").read_text())
    assert config["max_position_embeddings"] == metrics["context"] < 4096


def step_with(loss: float, norm: float) -> Callable[[Trainer, int], tuple[torch.Tensor, torch.Tensor]]:
    """A training step that computes nothing."""

    def train_step(trainer: Trainer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        trainer.step = step + 1
        return torch.tensor(loss), torch.tensor(norm)

    return train_step


def test_a_loss_that_is_not_finite_stops_the_run(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "train_step", step_with(math.nan, 2.0))
    with pytest.raises(UserError, match=r"the loss is nan at step 1 \(gradient norm 2\), .*; lower train.peak_lr"):
        run(folders)


@pytest.mark.parametrize(("times_guessing", "stops"), [(1.99, False), (2.01, True)])
def test_a_loss_above_twice_that_of_guessing_stops_the_run(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, times_guessing: float, stops: bool
) -> None:
    loss = times_guessing * math.log(300)
    monkeypatch.setattr(Trainer, "train_step", step_with(loss, 1.0))
    with pytest.raises(UserError, match="at step 1 .*where a uniform guess has 5.704;") if stops else nullcontext():
        run(folders, steps=2)


def test_rows_are_written_at_once(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = Trainer.train_step

    def spy(self: Trainer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(rows(folders.plots / "train.csv")))
        return real(self, step)

    monkeypatch.setattr(Trainer, "train_step", spy)
    run(folders, steps=9)
    assert seen == [0, 1, 1, 1, 2, 2, 2, 2, 3]


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(folders: Folders) -> None:
    eager = run(folders, steps=12, layers=1)
    compiled = run(beside(folders, "compiled"), COMPILED, steps=12, layers=1)
    assert compiled["compiled"]
    assert compiled["val_loss"] == pytest.approx(eager["val_loss"], rel=1e-3)


@pytest.mark.slow
def test_compiled_bf16_gradients_are_those_of_eager_code(tiny_tokens: TokenStore) -> None:
    """In the shapes of a real model: GCC 12 compiled the backward pass wrongly for processors with AMX."""
    p = tiny.model_params(layers=1, width=128, heads=2, mlp_width=344, context=256)
    gradients = []
    for compiled in (False, True):
        model = Transformer(p, tiny_tokens.vocab_size, torch.bfloat16)
        model.initialize(torch.Generator().manual_seed(0))
        trainer = Trainer(model.train(), tiny.train_params(batch_size=8), tiny_tokens, BF16_ON_CPU, compiled)
        trainer._accumulate_gradients(0)
        gradients.append([weight.grad for weight in model.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        assert torch.linalg.vector_norm(eager - compiled) < 0.05 * torch.linalg.vector_norm(eager)


@pytest.mark.slow
def test_two_equal_compiled_runs_write_equal_bytes(folders: Folders) -> None:
    """With two threads: sums must not depend on which thread comes first."""
    again = beside(folders, "again")
    run(folders, COMPILED, steps=24, layers=1)
    run(again, COMPILED, steps=24, layers=1)
    assert hashes(folders) == hashes(again)
