"""The start of a run that may have been interrupted: find its resume checkpoint, and restore the run from it."""

import contextlib
import logging
from collections.abc import Iterator

from tinylm.compute.distributed import World
from tinylm.train.checkpoints import restore_checkpoints
from tinylm.train.loop import TrainingLoop
from tinylm.train.outputs import Folders
from tinylm.train.resume.checkpoints import ResumeCheckpoint, ResumeCheckpoints, open_resume_checkpoints
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
    checkpoint = resume.newest() if resume and world.is_main else None
    if world.size == 1:
        return checkpoint
    step = world.broadcast(checkpoint.info["step"] if checkpoint else -1)
    if world.is_main or step < 0 or folders.resume is None:
        return checkpoint
    return (resume or ResumeCheckpoints(folders.resume)).at(step)


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
