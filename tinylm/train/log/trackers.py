"""Optional trackers: TensorBoard and Weights & Biases. Neither is imported unless it is enabled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import remedy
from tinylm.base.runtime import RuntimeParams
from tinylm.train.log.runlog import Tracker

PROJECT = "tinylm"


def open_trackers(
    runtime: RuntimeParams, root: Path, run: str, first_step: int, params: dict[str, Any]
) -> list[Tracker]:
    """The trackers that `runtime` enables; they write to `runs/` and `wandb/` in `root`.

    `run` is the name of the run, `first_step` the step after which it resumes (0: a new run). Raises UserError if a
    package is missing.
    """
    trackers: list[Tracker] = []
    if runtime.tensorboard:
        trackers.append(_TensorBoard(root / "runs" / run, first_step))
    if runtime.wandb != "disabled":
        trackers.append(_WandB(runtime.wandb, root, run, params))
    return trackers


def _missing(package: str, switch: str) -> UserError:
    return UserError(f"runtime.{switch}: the package {package} is not installed; {remedy('tracking')}")


class _TensorBoard:
    def __init__(self, folder: Path, first_step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard", "tensorboard") from error
        # Hides rows after the step that a run resumes from, since they will be written again.
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def write(self, name: str, row: Mapping[str, float]) -> None:
        for key, value in row.items():
            if key != "step":
                self._writer.add_scalar(f"{name}/{key}", value, int(row["step"]))

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, mode: str, root: Path, run: str, params: dict[str, Any]):
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", "wandb") from error
        self._run = wandb.init(
            project=PROJECT, dir=str(root), name=run, id=run, resume="allow", mode=mode, config=params
        )

    def write(self, name: str, row: Mapping[str, float]) -> None:
        self._run.log({f"{name}/{key}": value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    def close(self) -> None:
        self._run.finish()
