"""The start of a run that may have been interrupted: find its resume checkpoint, and restore the run from it."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.compute.distributed import World
from tinylm.train.checkpoints import restore_checkpoints
from tinylm.train.loop import TrainingLoop
from tinylm.train.outputs import Folders
from tinylm.train.resume.checkpoints import ResumeCheckpoint, ResumeCheckpoints, open_resume_checkpoints, parse
from tinylm.train.resume.snapshot import environment, restore

log = logging.getLogger("tinylm")


@contextlib.contextmanager
def resume_checkpoints(folders: Folders, world: World, limit_gb: float | None) -> Iterator[ResumeCheckpoints | None]:
    """The resume checkpoints of the run, for the main process; None for the others, or if none are saved."""
    if folders.resume is None or not world.is_main:
        yield None
        return
    with open_resume_checkpoints(folders.resume, limit_gb) as resume:
        yield resume


def find_newest(resume: ResumeCheckpoints | None, world: World, folders: Folders) -> ResumeCheckpoint | None:
    """The resume checkpoint to start from, the same in every process of the run; None to start at step 0."""
    if folders.resume is None:
        return None
    if world.size == 1:
        return resume.newest() if resume else None
    if any(world.gather(resume is not None and resume.fresh)):
        return None
    if resume and resume.shared:
        checkpoint = resume.newest() if world.is_main else None
        step = world.broadcast(checkpoint.info["step"] if checkpoint else -1)
        return checkpoint if world.is_main or step < 0 else resume.at(step)
    return _find_on_machines(resume, world, folders.resume)


def _find_on_machines(resume: ResumeCheckpoints | None, world: World, folder: Path) -> ResumeCheckpoint | None:
    """Find the newest resume checkpoint of all machines, and send it to those that lack it.

    Each looks in its own `folder`, which may be on a disk that it shares with others or not.
    """
    own = resume or ResumeCheckpoints(folder)
    newest = own.newest()
    steps = world.gather(newest.info["step"] if newest else -1)
    best = max(steps)
    if min(steps) == best:
        return newest
    source = world.main if steps[world.main] == best else steps.index(best)
    path = own.path(best) if world.rank == source else None
    name = world.gather(path.name if path else "")[source]
    if any(world.gather(path is not None and path.is_dir())):
        raise UserError(
            f"{name} was written by a sharded run, and not all machines see it; set TINYLM_RESUME to a folder on a "
            "file system that they share"
        )
    content = world.send(path.read_bytes() if path else None, source)
    if steps[world.main] < best:
        log.info("receiving the resume checkpoint of step %d from another machine", best)
        _send_checkpoints(own.checkpoints, world, source)
        if resume:
            resume.receive(name, content)
    return newest if steps[world.rank] == best else parse(name, content)


def _send_checkpoints(folder: Path, world: World, source: int) -> None:
    """Send the files in `folder` from the process of rank `source` to the main process, which saves them there."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if world.rank == source else []
    for number, name in enumerate(world.gather([path.relative_to(folder).as_posix() for path in files])[source]):
        content = world.send(files[number].read_bytes() if files else None, source)
        if world.is_main:
            with atomic.replacing(folder / name) as temporary:
                temporary.write_bytes(content)


def resume_run(loop: TrainingLoop, checkpoint: ResumeCheckpoint, folders: Folders) -> None:
    """Restore `loop` and the checkpoints in `folders`; warn of what may change the last bits of the results."""
    restore(loop, checkpoint)
    step, steps = loop.trainer.step, loop.trainer.steps
    log.info("continuing after step %d of %d from %s; TINYLM_FRESH=1 starts over", step, steps, folders.resume)
    here = environment(loop.trainer)
    for name, value in checkpoint.info["environment"].items():
        if here[name] != value:
            log.warning(
                "warning: %s was %s and is now %s: results differ in the last bits from an uninterrupted run",
                name,
                value,
                here[name],
            )
    if loop.resume and loop.trainer.world.is_main:
        restore_checkpoints(loop.resume.checkpoints, folders.checkpoints, step)
