"""Take a resume checkpoint from a training loop and restore it: everything that later steps depend on.

It holds no state of a random generator, because sequences and dropout are functions of (seed, step).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tinylm.model.attention import training_attention
from tinylm.train.early_stopping import Best
from tinylm.train.resume.checkpoints import ResumeCheckpoint
from tinylm.train.step import Trainer

if TYPE_CHECKING:
    from tinylm.train.loop import TrainingLoop


def take(loop: "TrainingLoop") -> ResumeCheckpoint:
    """A resume checkpoint of the run as it is now; its tensors are copies on the CPU."""
    info = _trainer_info(loop.trainer) | {
        "rows": {name: list(rows) for name, rows in loop.runlog.rows.items()},
        "pending": list(loop.meter.checked),
        "seconds": loop.seconds,
        "finished": loop.finished,
        "environment": environment(loop.trainer),
    }
    return ResumeCheckpoint(trainer_tensors(loop.trainer), info)


def restore(loop: "TrainingLoop", checkpoint: ResumeCheckpoint) -> None:
    """Put `loop` into the state of `checkpoint`, which a loop of the same run took."""
    info = checkpoint.info
    _restore_trainer(loop.trainer, checkpoint.tensors, info)
    loop.runlog.restore(info["rows"])
    loop.meter.checked = [tuple(step) for step in info["pending"]]
    loop.seconds_before = info["seconds"]
    loop.finished, loop.meter.saved_step = info["finished"], info["step"]


def environment(trainer: Trainer) -> dict[str, Any]:
    """What may change the last bits of a result without making it another run."""
    hardware = trainer.hardware
    return {
        "device": hardware.name,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "processes": trainer.world.size,
        "sharded": trainer.layout.sharded,
        "compiled": trainer.compiled,
        "attention": training_attention(
            hardware.device.type, hardware.dtype, trainer.context, trainer.model.params.dropout
        ),
        "torch": torch.__version__,
    }


def trainer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Copies on the CPU of the weights, the optimizer state, the best weights and their validation losses."""
    tensors = {f"model.{name}": weight for name, weight in trainer.model.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in trainer.optimizers.state().items()}
    copies = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    copies |= {f"best.{name}": weight.to("cpu") for name, weight in trainer.best.weights.items()}
    if trainer.best.validation:
        copies["best_nats"] = torch.from_numpy(trainer.best.validation.nats)
    return copies


def _trainer_info(trainer: Trainer) -> dict[str, Any]:
    return {
        "step": trainer.step,
        "best_step": trainer.best.step,
        "evals_since_best": trainer.best.evals_since,
        "scaler": trainer.scaler.state_dict(),
    }


def _restore_trainer(trainer: Trainer, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    trainer.model.load_state_dict(part("model."))
    trainer.optimizers.restore(part("optimizer."))
    if info["scaler"]:
        trainer.scaler.load_state_dict(info["scaler"])
    best = {name: weight.to(trainer.hardware.device) for name, weight in part("best.").items()}
    validation = trainer.sample.losses(tensors["best_nats"].numpy()) if "best_nats" in tensors else None
    trainer.best = Best(validation, info["best_step"], best, info["evals_since_best"])
    trainer.step = info["step"]
    if trainer.step:  # reported if the run stops early before its next step
        trainer.set_learning_rate(trainer.step - 1)
