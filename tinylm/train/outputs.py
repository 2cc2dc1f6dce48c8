"""The outputs of a run: model folder, metrics and loss curve; and the folders that it reads and writes."""

import contextlib
import logging
import math
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tinylm.base import atomic
from tinylm.base.errors import UserError, quote_path
from tinylm.model.card import CARD
from tinylm.model.folder import TRAINING, save_tokenizer, save_weights
from tinylm.model.transformer import training_flop_per_token
from tinylm.model.weight_names import Weights
from tinylm.train.card import training_card
from tinylm.train.checkpoints import remove_torn
from tinylm.train.log.diagnosis import diagnose, diagnose_speed
from tinylm.train.log.loss_curve import draw_loss_curve
from tinylm.train.loop import TrainingLoop
from tinylm.train.step import Trainer

log = logging.getLogger("tinylm")
LIBRARIES = ("torch", "numpy", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes; the defaults are the stage's deps and outs in dvc.yaml."""

    tokens: Path = Path("artifacts/tokens")
    tokenizer: Path = Path("artifacts/tokenizer/tokenizer.json")
    model: Path = Path("artifacts/model")
    checkpoints: Path = Path("artifacts/checkpoints")
    metrics: Path = Path("metrics")
    plots: Path = Path("plots")
    resume: Path | None = None  # resume checkpoints; None: none are saved
    trackers: Path = Path()  # holds `runs/` of TensorBoard and `wandb/` of Weights & Biases


def check_outputs(folders: Folders) -> None:
    """Raise UserError if an output folder is a file: before the training rather than after it."""
    for folder in (folders.model, folders.checkpoints, folders.metrics, folders.plots):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{quote_path(folder)}: expected a folder or nothing, got a file; move it away")


def write_model(trainer: Trainer, weights: Weights, folders: Folders, params: dict[str, Any]) -> None:
    """Write the best `weights` as a Hugging Face folder; training.json has their parameters, data and versions."""
    model, tokens = trainer.model, trainer.tokens
    remove_torn(folders.model)
    save_weights(folders.model, weights, model.params, model.vocab_size, tokens.end_of_text)
    save_tokenizer(folders.model, folders.tokenizer, tokens.end_of_text, model.params.context)
    origin = {
        "step": trainer.best.step,
        "params": params,
        "data": {
            "tokenizer_sha256": tokens.tokenizer_sha256,
            "train_tokens_sha256": tokens.train.info.digest,
            "val_tokens_sha256": tokens.val.info.digest,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    atomic.write_json(folders.model / TRAINING, origin)
    atomic.write_text(folders.model / CARD, training_card(trainer))


def refresh_metrics(loop: TrainingLoop, folders: Folders) -> None:
    """Write `train.json` during the run, for those who watch it (`dvc exp show`, an editor); from the first row on.

    A disk that is full now may have space when the run ends.
    """
    if loop.runlog.rows["train"] and loop.trainer.best.validation:
        with contextlib.suppress(UserError, OSError):
            atomic.write_json(folders.metrics / "train.json", _metrics(loop))


def _metrics(loop: TrainingLoop) -> dict[str, Any]:
    """Return the contents of `train.json`: what the run has reached so far, the same for equal runs."""
    trainer, rows = loop.trainer, loop.runlog.rows
    best, hardware = trainer.best, trainer.hardware
    guess_loss, tokens_seen = math.log(trainer.model.vocab_size), trainer.step * trainer.tokens_per_step
    validation = best.validation
    assert validation
    bits = validation.bits_per_byte_interval()
    return {
        "val_loss": validation.loss,
        "val_bits_per_byte": validation.bits_per_byte,
        "range95": {
            "val_loss": asdict(validation.loss_interval()),
            "val_bits_per_byte": asdict(bits) if bits else None,
        },
        "val_stories": len(validation.nats),
        "best_step": best.step,
        "train_loss": rows["train"][-1]["loss"],
        "first_loss": rows["train"][0]["loss"],
        "guess_loss": guess_loss,
        "steps": trainer.step,
        "stopped_early": loop.stopped_early,
        "tokens": tokens_seen,
        "epochs": trainer.epochs(trainer.step),
        "times_seen": tokens_seen / len(trainer.tokens.train.tokens),
        "parameters": trainer.model.size().parameters,
        "context": trainer.context,
        "device": hardware.device.type,
        "device_name": hardware.name,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "processes": trainer.world.size,
        "parallel": ("fsdp" if trainer.layout.sharded else "ddp") if trainer.world.size > 1 else None,
        "activation_checkpointing": trainer.layout.checkpointing,
        "compiled": trainer.compiled,
        "diagnosis": diagnose(rows["train"], rows["val"], None if trainer.p.init_from else guess_loss, best.step),
    }


def write_metrics(loop: TrainingLoop, folders: Folders) -> None:
    """Write `train.json`, the same for equal runs, `speed.json`, which depends on the clock, and the loss curve."""
    trainer, rows, metrics = loop.trainer, loop.runlog.rows, _metrics(loop)
    first_loss, guess_loss = metrics["first_loss"], metrics["guess_loss"]
    log.info("loss at step 0: %.3f; uniform guess over %d ids: %.3f", first_loss, trainer.model.vocab_size, guess_loss)
    log.info("best validation loss %.4f at step %d", metrics["val_loss"], metrics["best_step"])
    tokens_per_second = median(row["tokens_per_second"] for row in rows["speed"])
    model_flop = training_flop_per_token(trainer.model.params, trainer.model.size().parameters)
    speed = {
        "tokens_per_second": tokens_per_second,
        "gflop_per_second": tokens_per_second * model_flop / 1e9,
        "seconds": loop.seconds,
        "peak_memory_mb": rows["speed"][-1]["memory_mb"],
        "diagnosis": diagnose_speed(rows["speed"], loop.waiting_share),
    }
    for line in (*metrics["diagnosis"], *speed["diagnosis"]):
        log.info("diagnosis: %s", line)
    atomic.write_json(folders.metrics / "train.json", metrics)
    atomic.write_json(folders.metrics / "speed.json", speed)
    draw_loss_curve(rows["train"], rows["val"], guess_loss, folders.plots / "loss_curve.png")
