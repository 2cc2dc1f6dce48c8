"""A training run from token files to a model folder: set up, train, write the outputs."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinylm.base.runtime import RuntimeParams
from tinylm.compute.compiling import resolve_compile
from tinylm.compute.device import Hardware, make_deterministic, resolve_hardware
from tinylm.compute.distributed import World, local_processes, local_rank, process_group
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.compute.signals import listening
from tinylm.model.params import ModelParams
from tinylm.model.transformer import training_flop_per_token
from tinylm.model.weight_names import Weights
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import open_tokens
from tinylm.train.checkpoints import save_checkpoint
from tinylm.train.log.live_samples import live_sample
from tinylm.train.log.runlog import RunLog, Tracker
from tinylm.train.log.trackers import open_trackers
from tinylm.train.loop import Hooks, TrainingLoop
from tinylm.train.outputs import Folders, check_outputs, refresh_metrics, write_metrics, write_model
from tinylm.train.params import TrainParams
from tinylm.train.resume.checkpoints import ResumeCheckpoints
from tinylm.train.resume.resuming import find_newest, resume_checkpoints, resume_run
from tinylm.train.setup.build import build_model, fit_to_text
from tinylm.train.setup.description import describe, memory_remedy
from tinylm.train.setup.initial_model import check_tokenizer, initial_vocabulary
from tinylm.train.setup.machines import check_machines
from tinylm.train.sharding.layout import resolve_layout
from tinylm.train.step import Trainer

log = logging.getLogger("tinylm")


def run_training(model_params: ModelParams, p: TrainParams, runtime: RuntimeParams, folders: Folders) -> Trainer:
    """Train, and write the model, checkpoints, metrics and plots; resume if the run was interrupted before.

    Raises UserError for what the user can fix, StoppedError after a signal.
    """
    if p.init_from:
        check_tokenizer(Path(p.init_from), folders.tokenizer)
    hardware = resolve_hardware(runtime, p.precision, local_rank(), local_processes())
    if p.deterministic:
        make_deterministic(hardware.device)
    params = {"model": model_params.model_dump(), "train": p.model_dump()}
    with (
        process_group(hardware.device) as world,
        resume_checkpoints(folders, world, runtime.resume_gb) as own_resume,
        _only_main_logs(world),
        explaining_out_of_memory(hardware.device, memory_remedy(model_params, p)),
    ):
        check_machines(world)
        check_outputs(folders)
        trainer = _build_trainer(model_params, p, runtime, folders, hardware, world)
        describe(trainer)
        with _resume_of(trainer, own_resume, folders) as resume:
            loop = _train(trainer, runtime, folders, resume, params)
        weights = whole_weights(trainer, trainer.best.weights)
        if world.is_main:
            write_model(trainer, weights, folders, params)
            write_metrics(loop, folders)
        return trainer


def _build_trainer(
    model_params: ModelParams,
    p: TrainParams,
    runtime: RuntimeParams,
    folders: Folders,
    hardware: Hardware,
    world: World,
) -> Trainer:
    """A trainer at step 0, compiled if `runtime.compile` asks for it or, with `auto`, if that saves time."""
    tokens = open_tokens(folders.tokens, folders.tokenizer)
    model_params = fit_to_text(model_params, tokens)
    vocab_size = initial_vocabulary(Path(p.init_from), tokens.vocab_size) if p.init_from else tokens.vocab_size
    layout = resolve_layout(model_params, vocab_size, p, runtime, hardware, world)
    model = build_model(model_params, vocab_size, p, hardware, layout, world.size)
    trainer = Trainer(model, p, tokens, hardware, world=world, layout=layout)
    flop = training_flop_per_token(model.params, model.size().parameters) * trainer.tokens_per_step * trainer.steps
    if resolve_compile(runtime.compile, hardware, trainer.steps, flop):
        trainer.compile()
    return trainer


def whole_weights(trainer: Trainer, weights: Weights) -> Weights:
    """The weights as the main process writes them; all processes call this, and gather them if they are sharded."""
    if not trainer.layout.sharded:
        return weights
    from tinylm.train.sharding.sharded_model import gather_weights  # takes a second

    return gather_weights(weights, trainer.world.is_main)


@contextlib.contextmanager
def _resume_of(
    trainer: Trainer, resume: ResumeCheckpoints | None, folders: Folders
) -> Iterator[ResumeCheckpoints | None]:
    """The resume checkpoints that the main process has opened; of a sharded run, for all of its processes."""
    if folders.resume is None or not trainer.layout.sharded:
        yield resume
        return
    from tinylm.train.sharding.sharded_checkpoints import shared_checkpoints  # takes a second

    with shared_checkpoints(folders.resume, trainer) as shared:
        yield shared


def _train(
    trainer: Trainer, runtime: RuntimeParams, folders: Folders, resume: ResumeCheckpoints | None, params: dict[str, Any]
) -> TrainingLoop:
    """Run the steps that remain, from the newest resume checkpoint if there is one."""
    device, is_main = trainer.hardware.device, trainer.world.is_main
    checkpoint = find_newest(resume, trainer.world, folders)
    trackers: list[Tracker] = []
    if is_main:
        name = folders.resume.name if folders.resume else "train"
        first_step = checkpoint.info["step"] if checkpoint else 0
        trackers = open_trackers(runtime, folders.trackers, name, first_step, params)
    with RunLog(folders.plots if is_main else None, trackers) as runlog, listening() as stop:
        loop = TrainingLoop(trainer, runlog, _make_hooks(trainer, runtime, folders, resume), resume, runtime)
        if checkpoint:
            resume_run(loop, checkpoint, folders)
        with explaining_out_of_memory(device, memory_remedy(trainer.model.params, trainer.p), loop.resume_hint):
            loop.run(stop)
    return loop


def _make_hooks(trainer: Trainer, runtime: RuntimeParams, folders: Folders, resume: ResumeCheckpoints | None) -> Hooks:
    """Checkpoints and live samples of the main process; the others do nothing, or help it if weights are sharded."""
    tokenizer, world, sharded = load_tokenizer(folders.tokenizer), trainer.world, trainer.layout.sharded

    def save(step: int) -> None:
        weights = whole_weights(trainer, trainer.model.state_dict())
        if world.is_main:
            save_checkpoint(trainer, weights, step, folders.checkpoints, resume.checkpoints if resume else None)

    def show(step: int) -> None:
        if world.is_main or sharded:
            end, agree = trainer.tokens.end_of_text, world.broadcast if sharded else int
            story = live_sample(trainer.model, tokenizer, end, runtime.sample_prompt, step, agree)
            log.info("--- a story at step %d:\n%s\n---", step, story)

    return Hooks(save, show, lambda loop: refresh_metrics(loop, folders))


@contextlib.contextmanager
def _only_main_logs(world: World) -> Iterator[None]:
    """In the other processes, log errors only."""
    before = log.level
    if not world.is_main:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
