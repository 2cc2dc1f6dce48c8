"""Resume checkpoints of a sharded run: every process writes and reads what it holds, in the background.

They lie beside those of a run that is not sharded, and each kind of run reads both. The folder has to be one that all
machines of the run share.
"""

import contextlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor

from tinylm.base import atomic
from tinylm.base.errors import UserError, one_line
from tinylm.compute.distributed import PATIENCE, World
from tinylm.train.optim.muon import same_shape
from tinylm.train.resume.checkpoints import INFO, NAME, ResumeCheckpoint, ResumeCheckpoints
from tinylm.train.sharding.shard_files import checksums, read_info, read_shards, seal, verify, write_shards
from tinylm.train.sharding.sharded_model import copy_own_rows
from tinylm.train.step import Trainer

VISIBLE_AFTER = 30.0  # seconds until a new file is seen on another host; network file systems cache names
T = TypeVar("T")
log = logging.getLogger("tinylm")


@contextlib.contextmanager
def shared_checkpoints(folder: Path, trainer: Trainer) -> Iterator["ShardedCheckpoints"]:
    """The resume checkpoints of a sharded run, for each of its processes; the main one holds the lock of `folder`.

    Raises UserError if the folder is not the same on all machines.
    """
    check_shared(folder, trainer.world)
    resume = ShardedCheckpoints(folder, trainer)
    try:
        yield resume
    finally:
        resume.wait()


def check_shared(folder: Path, world: World, patience: float = VISIBLE_AFTER) -> None:
    """Raise UserError in all processes unless each sees a file that the main one has just written to `folder`."""
    number = world.broadcast(secrets.randbits(60))
    path = folder / f".shared-{number}.tmp"
    if world.is_main:
        with contextlib.suppress(OSError):
            path.touch()
    world.broadcast(0)  # not before the file is written
    deadline = time.monotonic() + patience
    while not (seen := path.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    lacking = int(world.sum(torch.tensor(int(not seen))))
    if world.is_main:
        path.unlink(missing_ok=True)
    if lacking:
        raise UserError(
            f"{folder}: expected a folder that all machines of a sharded run share, but {lacking} of {world.size} "
            "processes do not see the files of the main one; set TINYLM_RESUME to a folder on a shared file system"
        )


class ShardedCheckpoints(ResumeCheckpoints):
    """The resume checkpoints of a sharded run, in a folder. All processes save at the same step."""

    shared = True

    def __init__(self, folder: Path, trainer: Trainer):
        super().__init__(folder)
        self._trainer, self._world = trainer, trainer.world
        # Of its own: what the background thread exchanges must not mix with what training does.
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def _write(self, checkpoint: ResumeCheckpoint) -> None:
        """Write `checkpoint` and delete old ones. A full or missing disk is only warned of, and training continues."""
        step = checkpoint.info["step"]
        temporary = self.folder / f".step_{step:08d}.tmp"
        try:
            self._together(lambda: self._main(_make_empty, temporary))
            write_shards(temporary, checkpoint.tensors, self._group)
            of_each = self._together(lambda: checksums(temporary, self._group))
            files = {name: checksum for own in of_each for name, checksum in own.items()}
            self._together(lambda: self._main(self._publish, temporary, checkpoint.info, files))
        except (CheckpointException, UserError, OSError, RuntimeError) as error:  # RuntimeError: a process was lost
            reason = _reason(error)
            log.warning("warning: the resume checkpoint of step %d is not saved, training continues: %s", step, reason)
            self._main(shutil.rmtree, temporary, True)

    def _publish(self, temporary: Path, info: dict[str, Any], files: dict[str, str]) -> None:
        seal(temporary, info, files, f"step_{info['step']:08d}-CHECKSUM.sharded")
        self._tidy(info)

    def _main(self, act: Callable[..., object], *arguments: Any) -> None:
        """Call `act` in the main process."""
        if self._world.is_main:
            act(*arguments)

    def _together(self, act: Callable[[], T]) -> list[T]:
        """Call `act` in all processes and return the results of all. Raises OSError in all of them if one fails."""
        try:
            own: tuple[T | None, str | None] = act(), None
        except (UserError, OSError) as error:
            own = None, str(error)
        everyone: list[Any] = [None] * self._world.size
        dist.all_gather_object(everyone, own, group=self._group)
        if failed := [error for _, error in everyone if error]:
            raise OSError(failed[0])
        return [result for result, _ in everyone]

    def _read(self, path: Path) -> ResumeCheckpoint:
        name = NAME.fullmatch(path.name)
        assert name
        if path.is_dir():
            self._main(verify, path, name[2])
            return ResumeCheckpoint(read_shards(path, self._mould), read_info(path))
        if self._world.is_main and atomic.sha256(path)[:16] != name[2]:
            raise ValueError("its checksum is not the one in its name")
        return self._read_whole(path)

    def _read_whole(self, path: Path) -> ResumeCheckpoint:
        """Read the own rows from the file of a run that was not sharded; one whole weight is in memory at a time."""
        tensors: dict[str, Tensor] = {}
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                stored = file.get_tensor(name)
                for part, whole in self._unstacked(name, stored):
                    tensors[part] = self._mould(part, whole.shape, whole.dtype)
                    if isinstance(tensors[part], DTensor):
                        copy_own_rows(tensors[part], whole)
                    else:
                        tensors[part].copy_(whole)
            info = json.loads(file.metadata()[INFO])
        return ResumeCheckpoint(tensors, info)

    def _unstacked(self, name: str, stored: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the momentum of each matrix where Muon has stacked them (momenta.py); any other tensor as it is."""
        if not name.endswith(".momentum"):
            yield name, stored
            return
        _, number, first, _ = name.split(".")
        weights = self._weights(int(number))
        batch = next(batch for batch in same_shape(w.shape for w in weights) if batch[0] == int(first))
        for index, matrix in zip(batch, stored, strict=True):
            whole = matrix if matrix.shape == weights[index].shape else matrix.mT
            yield f"optimizer.{number}.{index}.momentum", whole

    def _mould(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return an empty tensor for a part of a resume checkpoint, sharded as the weight that it belongs to."""
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, index, _ = rest.split(".")
            weight: Tensor | None = self._weights(int(number))[int(index)]
        else:
            weight = self._trainer.model.state_dict().get(rest)
        if weight is None or weight.shape != shape:
            return torch.empty(shape, dtype=dtype)
        return torch.empty_like(weight.detach())

    def _weights(self, number: int) -> list[Tensor]:
        """The weights of an optimizer, in the order in which its state counts them."""
        return [weight for group in self._trainer.optimizers.all[number].param_groups for weight in group["params"]]


def _reason(error: BaseException) -> str:
    """What went wrong, in one line: torch's own message holds a traceback for each process."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return one_line(str(error))


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
