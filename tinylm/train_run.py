"""One training run, from token files to a model folder: set up, train, write what it leaves."""

import logging
import math
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tinylm import atomic
from tinylm.batches import fit_context
from tinylm.checkpoint import TRAINING, milestone_folder, save_tokenizer, save_weights
from tinylm.device import Hardware, resolve_compile, resolve_hardware
from tinylm.live_samples import live_sample
from tinylm.loss_curve import draw_loss_curve
from tinylm.model import Transformer
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.params.train import TrainParams
from tinylm.runlog import RunLog
from tinylm.tokenizer import load_tokenizer
from tinylm.tokens import TokenStore, open_tokens
from tinylm.trainer import Hooks, Trainer, bits_per_byte, count_steps, make_windows, train

log = logging.getLogger("tinylm")
# A weight is multiplied and added once forward, twice backward (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
FLOP_PER_WEIGHT = 6
LIBRARIES = ("torch", "numpy", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes; the defaults are the stage's deps and outs."""

    tokens: Path = Path("artifacts/tokens")
    tokenizer: Path = Path("artifacts/tokenizer/tokenizer.json")
    model: Path = Path("artifacts/model")
    checkpoints: Path = Path("artifacts/checkpoints")
    metrics: Path = Path("metrics")
    plots: Path = Path("plots")


def run_training(model_params: ModelParams, p: TrainParams, runtime: RuntimeParams, folders: Folders) -> Trainer:
    """Train, and write model, checkpoints, metrics and plots. Raises UserError for what the user can mend."""
    hardware = resolve_hardware(runtime, p.precision)
    tokens = open_tokens(folders.tokens, folders.tokenizer)
    model = build_model(model_params, p, tokens, hardware)
    steps = count_steps(p, make_windows(p, tokens.train, model.params.context))
    flop = FLOP_PER_WEIGHT * model.size().parameters * steps * p.batch_size * model.params.context
    compiled = resolve_compile(runtime.compile, hardware, steps, flop)
    trainer = Trainer(model, p, tokens, hardware, compiled)
    describe(trainer, compiled)
    hooks = make_hooks(trainer, runtime, folders)
    started = time.perf_counter()
    with RunLog(folders.plots) as runlog:
        train(trainer, runlog, hooks, runtime.sample_every, runtime.progress)
    seconds = time.perf_counter() - started
    write_model(trainer, folders, model_params)
    write_metrics(trainer, runlog, folders, compiled, seconds)
    return trainer


def build_model(model_params: ModelParams, p: TrainParams, tokens: TokenStore, hardware: Hardware) -> Transformer:
    context = fit_context(model_params.context, len(tokens.train.tokens))
    if context < model_params.context:
        log.warning(
            "warning: the training text has %d tokens: model.context shortened from %d to %d",
            len(tokens.train.tokens),
            model_params.context,
            context,
        )
    model = Transformer(model_params.model_copy(update={"context": context}), tokens.vocab_size, hardware.dtype)
    model.initialize(torch.Generator().manual_seed(p.seed))
    return model


def describe(trainer: Trainer, compiled: bool) -> None:
    """Say what is about to run, and how big it is."""
    size, tokens = trainer.model.size(), trainer.tokens
    log.info("on %s%s", trainer.hardware, ", compiled" if compiled else "")
    log.info(
        "model: %s, %s parameters, %.1f MB in fp32, %.1f MB in bf16",
        trainer.model.params.architecture,
        f"{size.parameters:,}",
        size.megabytes_fp32,
        size.megabytes_bf16,
    )
    log.info(
        "%d steps of %d windows x %d tokens: %.1f passes over %s training tokens",
        trainer.steps,
        trainer.p.batch_size,
        trainer.context,
        trainer.steps * trainer.p.batch_size / trainer.windows.per_epoch,
        f"{len(tokens.train.tokens):,}",
    )


def make_hooks(trainer: Trainer, runtime: RuntimeParams, folders: Folders) -> Hooks:
    tokenizer = load_tokenizer(folders.tokenizer)
    model, end_of_text = trainer.model, trainer.tokens.end_of_text

    def save_milestone(step: int) -> None:
        folder = milestone_folder(folders.checkpoints, step)
        save_weights(folder, model.state_dict(), model.params, model.vocab_size, end_of_text)

    def show_sample(step: int) -> None:
        story = live_sample(model, tokenizer, end_of_text, runtime.sample_prompt, step)
        log.info("--- a story at step %d:\n%s\n---", step, story)

    return Hooks(save_milestone, show_sample)


def write_model(trainer: Trainer, folders: Folders, model_params: ModelParams) -> None:
    """The best weights as a Hugging Face folder, and beside them what they came from."""
    model, tokens = trainer.model, trainer.tokens
    save_weights(folders.model, trainer.best.weights, model.params, model.vocab_size, tokens.end_of_text)
    save_tokenizer(folders.model, folders.tokenizer, tokens.end_of_text, model.params.context)
    origin = {
        "step": trainer.best.step,
        "params": {"model": model_params.model_dump(), "train": trainer.p.model_dump()},
        "data": {
            "tokenizer_sha256": tokens.tokenizer_sha256,
            "train_tokens_sha256": tokens.train.info.sha256,
            "val_tokens_sha256": tokens.val.info.sha256,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    atomic.write_json(folders.model / TRAINING, origin)


def write_metrics(trainer: Trainer, runlog: RunLog, folders: Folders, compiled: bool, seconds: float) -> None:
    """`train.json` is the same for the same run; what depends on the clock is in `speed.json`."""
    rows, best, hardware = runlog.rows, trainer.best, trainer.hardware
    first_loss, guess_loss = rows["train"][0]["loss"], math.log(trainer.model.vocab_size)
    log.info("loss at step 0: %.3f; guessing among %d ids: %.3f", first_loss, trainer.model.vocab_size, guess_loss)
    log.info("best validation loss %.4f at step %d", best.loss, best.step)
    tokens_seen = trainer.steps * trainer.tokens_per_step
    metrics: dict[str, Any] = {
        "val_loss": best.loss,
        "val_bits_per_byte": bits_per_byte(best.loss, trainer.tokens.val),
        "best_step": best.step,
        "train_loss": rows["train"][-1]["loss"],
        "first_loss": first_loss,
        "guess_loss": guess_loss,
        "steps": trainer.steps,
        "tokens": tokens_seen,
        "epochs": tokens_seen / len(trainer.tokens.train.tokens),
        "parameters": trainer.model.size().parameters,
        "context": trainer.context,
        "device": hardware.device.type,
        "device_name": hardware.name,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "compiled": compiled,
    }
    speed = {
        "tokens_per_second": median(row["tokens_per_second"] for row in rows["speed"]),
        "seconds": seconds,
        "peak_memory_mb": rows["speed"][-1]["memory_mb"],
    }
    atomic.write_json(folders.metrics / "train.json", metrics)
    atomic.write_json(folders.metrics / "speed.json", speed)
    draw_loss_curve(rows["train"], rows["val"], guess_loss, folders.plots / "loss_curve.png")
