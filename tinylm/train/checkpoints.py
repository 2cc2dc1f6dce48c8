"""Checkpoints: the weights after some of the steps, kept in `artifacts/checkpoints/` for later stages.

DVC deletes the outputs of a stage before it runs the stage again. A run that can be resumed therefore keeps a copy of
each checkpoint beside its resume checkpoints, and restores them when it resumes.
"""

import shutil
from pathlib import Path

from tinylm.base.errors import UserError, shorten
from tinylm.model.folder import checkpoint_folder, list_checkpoints, save_weights
from tinylm.model.weight_names import Weights
from tinylm.train.step import Trainer

LONGEST_REASON = 80  # characters of the system's error message


def save_checkpoint(trainer: Trainer, weights: Weights, step: int, checkpoints: Path, copies: Path | None) -> None:
    """Save the weights as the checkpoint of `step` in `checkpoints`, and again in `copies`.

    Raises UserError if the copy fails.
    """
    folder, model = checkpoint_folder(checkpoints, step), trainer.model
    remove_torn(folder)
    save_weights(folder, weights, model.params, model.vocab_size, trainer.tokens.end_of_text)
    if copies:
        _copy(folder, checkpoint_folder(copies, step))


def restore_checkpoints(copies: Path, checkpoints: Path, last_step: int) -> None:
    """Copy the checkpoints up to `last_step` from `copies` to `checkpoints`. Raises UserError if that fails."""
    for step, folder in list_checkpoints(copies):
        if step <= last_step:
            _copy(folder, checkpoint_folder(checkpoints, step))


def remove_torn(folder: Path) -> None:
    """Remove temporary files of a killed process, which would become outputs if DVC has not emptied the folder."""
    for torn in folder.glob(".*.tmp"):
        torn.unlink()


def _copy(checkpoint: Path, to: Path) -> None:
    try:
        shutil.copytree(checkpoint, to, dirs_exist_ok=True)
    except OSError as error:
        # shutil.Error holds a list of (source, target, reason); the first reason is enough
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise UserError(
            f"{shorten(str(checkpoint), 80)} cannot be copied to {shorten(str(to.parent), 80)}: "
            f"{shorten(str(reason), LONGEST_REASON)}; fix it, and the same command continues"
        ) from None
