"""One training run, from token files to a model folder: set up, train, write what it leaves."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch

from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import Hardware, make_deterministic, resolve_compile, resolve_hardware
from tinylm.compute.distributed import World, local_processes, local_rank, process_group
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.compute.signals import listening
from tinylm.model.folder import checkpoint_folder, list_checkpoints, save_weights
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer, training_flop_per_token
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import TokenStore, open_tokens
from tinylm.train.batches import fit_context
from tinylm.train.description import describe, less_memory
from tinylm.train.log.live_samples import live_sample
from tinylm.train.log.runlog import RunLog
from tinylm.train.log.trackers import open_trackers
from tinylm.train.loop import Hooks, TrainingLoop
from tinylm.train.outputs import Folders, check_outputs, copy_checkpoint, remove_torn, write_metrics, write_model
from tinylm.train.params import TrainParams
from tinylm.train.resume.checkpoints import ResumeCheckpoint, ResumeCheckpoints, open_resume_checkpoints
from tinylm.train.resume.snapshot import restore
from tinylm.train.step import Trainer, count_steps, make_sequences

log = logging.getLogger("tinylm")


def run_training(model_params: ModelParams, p: TrainParams, runtime: RuntimeParams, folders: Folders) -> Trainer:
    """Train, and write model, checkpoints, metrics and plots.

    Resumes from the newest resume checkpoint in `folders.resume`, if there is one. Raises UserError for what the
    user can mend, StoppedError after a signal.
    """
    hardware = resolve_hardware(runtime, p.precision, local_rank(), local_processes())
    if p.deterministic:
        make_deterministic(hardware.device)
    with (
        process_group(hardware.device) as world,
        _open_resume(folders, world, runtime) as resume,
        _quiet(world),
        explaining_out_of_memory(hardware.device, less_memory(model_params, p)),
    ):
        check_outputs(folders)
        tokens = open_tokens(folders.tokens, folders.tokenizer)
        model = build_model(model_params, p, tokens, hardware)
        steps = count_steps(p, make_sequences(p, tokens.train, model.params.context))
        flop = training_flop_per_token(model.params, model.size().parameters) * model.params.context * p.batch_size
        compiled = resolve_compile(runtime.compile, hardware, steps, steps * flop)
        trainer = Trainer(model, p, tokens, hardware, compiled, world)
        describe(trainer, compiled)
        checkpoint = _newest(resume, world, folders)
        params = {"model": model_params.model_dump(), "train": p.model_dump()}
        trackers = []
        if world.is_main:
            first_step = checkpoint.info["step"] if checkpoint else 0
            trackers = open_trackers(runtime, folders.trackers, _run_name(folders), first_step, params)
        with RunLog(folders.plots if world.is_main else None, trackers) as runlog, listening() as stop:
            hooks = make_hooks(trainer, runtime, folders, resume)
            loop = TrainingLoop(trainer, runlog, hooks, resume, runtime)
            if checkpoint:
                _restore(loop, checkpoint, _environment(trainer, compiled), folders)
            loop.environment = _environment(trainer, compiled)
            with explaining_out_of_memory(hardware.device, less_memory(model_params, p), loop.what_is_saved):
                loop.run(stop)
        if world.is_main:
            write_model(trainer, folders, params)
            write_metrics(loop, folders, compiled)
        return trainer


@contextlib.contextmanager
def _open_resume(folders: Folders, world: World, runtime: RuntimeParams) -> Iterator[ResumeCheckpoints | None]:
    """The run's resume checkpoints, for the main process."""
    if folders.resume is None or not world.is_main:
        yield None
        return
    with open_resume_checkpoints(folders.resume, runtime.resume_gb) as resume:
        yield resume


@contextlib.contextmanager
def _quiet(world: World) -> Iterator[None]:
    """Only the main process logs."""
    before = log.level
    if not world.is_main:
        log.setLevel(logging.ERROR)
    yield
    log.setLevel(before)


def _run_name(folders: Folders) -> str:
    return folders.resume.name if folders.resume else "train"


def _newest(resume: ResumeCheckpoints | None, world: World, folders: Folders) -> ResumeCheckpoint | None:
    """The resume checkpoint to start from, the same for every process of the run."""
    checkpoint = resume.newest() if resume else None
    if world.size == 1:
        return checkpoint
    step = world.broadcast(checkpoint.info["step"] if checkpoint else -1)
    if world.is_main or step < 0 or folders.resume is None:
        return checkpoint
    return ResumeCheckpoints(folders.resume).at(step)


def _environment(trainer: Trainer, compiled: bool) -> dict[str, Any]:
    """What changes the last bits of a result without changing the run."""
    hardware = trainer.hardware
    return {
        "device": hardware.name,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "processes": trainer.world.size,
        "compiled": compiled,
        "torch": torch.__version__,
    }


def _restore(loop: TrainingLoop, checkpoint: ResumeCheckpoint, environment: dict[str, Any], folders: Folders) -> None:
    restore(loop, checkpoint)
    step, steps = loop.trainer.step, loop.trainer.steps
    log.info("continuing after step %d of %d from %s; TINYLM_FRESH=1 starts anew", step, steps, folders.resume)
    for name, value in checkpoint.info["environment"].items():
        if environment[name] != value:
            log.warning(
                "warning: %s was %s and is %s: the rest differs in the last bits from a run without a break",
                name,
                value,
                environment[name],
            )
    if loop.trainer.world.is_main:
        assert loop.resume
        for kept_step, folder in list_checkpoints(loop.resume.checkpoints):
            if kept_step <= step:
                copy_checkpoint(folder, checkpoint_folder(folders.checkpoints, kept_step))


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


def make_hooks(trainer: Trainer, runtime: RuntimeParams, folders: Folders, resume: ResumeCheckpoints | None) -> Hooks:
    tokenizer = load_tokenizer(folders.tokenizer)
    model, end_of_text = trainer.model, trainer.tokens.end_of_text

    def save_checkpoint(step: int) -> None:
        if not trainer.world.is_main:
            return
        folder = checkpoint_folder(folders.checkpoints, step)
        remove_torn(folder)
        save_weights(folder, model.state_dict(), model.params, model.vocab_size, end_of_text)
        if resume:
            copy_checkpoint(folder, checkpoint_folder(resume.checkpoints, step))

    def show_sample(step: int) -> None:
        if trainer.world.is_main:
            story = live_sample(model, tokenizer, end_of_text, runtime.sample_prompt, step)
            log.info("--- a story at step %d:\n%s\n---", step, story)

    return Hooks(save_checkpoint, show_sample)
