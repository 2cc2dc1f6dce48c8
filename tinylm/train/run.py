"""One training run, from token files to a model folder: set up, train, write what it leaves."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch

from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import Hardware, make_deterministic, resolve_compile, resolve_hardware
from tinylm.compute.distributed import World, joined, local_processes, local_rank
from tinylm.compute.memory import explaining_out_of_memory, free_bytes, gigabytes
from tinylm.compute.signals import listening
from tinylm.model.checkpoint import list_milestones, milestone_folder, save_weights
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer, training_flop_per_token
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import TokenStore, open_tokens
from tinylm.train.batches import fit_context
from tinylm.train.log.live_samples import live_sample
from tinylm.train.log.runlog import RunLog
from tinylm.train.log.trackers import open_trackers
from tinylm.train.loop import Hooks, TrainingLoop
from tinylm.train.memory import step_bytes
from tinylm.train.outputs import Folders, check_outputs, copy_checkpoint, remove_torn, write_metrics, write_model
from tinylm.train.params import TrainParams
from tinylm.train.resume.states import State, States, open_states
from tinylm.train.step import Trainer, count_steps, make_windows

log = logging.getLogger("tinylm")


def run_training(model_params: ModelParams, p: TrainParams, runtime: RuntimeParams, folders: Folders) -> Trainer:
    """Train, and write model, checkpoints, metrics and plots.

    Goes on from the newest state in `folders.states`, if there is one. Raises UserError for what the
    user can mend, StoppedError after a signal.
    """
    hardware = resolve_hardware(runtime, p.precision, local_rank(), local_processes())
    if p.deterministic:
        make_deterministic(hardware.device)
    with (
        joined(hardware.device) as world,
        _states(folders, world, runtime) as states,
        _quiet(world),
        explaining_out_of_memory(hardware.device, less_memory(model_params, p)),
    ):
        check_outputs(folders)
        tokens = open_tokens(folders.tokens, folders.tokenizer)
        model = build_model(model_params, p, tokens, hardware)
        steps = count_steps(p, make_windows(p, tokens.train, model.params.context))
        flop = training_flop_per_token(model.params, model.size().parameters) * model.params.context * p.batch_size
        compiled = resolve_compile(runtime.compile, hardware, steps, steps * flop)
        trainer = Trainer(model, p, tokens, hardware, compiled, world)
        describe(trainer, compiled)
        state = _newest_state(states, world, folders)
        params = {"model": model_params.model_dump(), "train": p.model_dump()}
        trackers = []
        if world.leads:
            first_step = state.info["step"] if state else 0
            trackers = open_trackers(runtime, folders.trackers, _run_name(folders), first_step, params)
        with RunLog(folders.plots if world.leads else None, trackers) as runlog, listening() as stop:
            hooks = make_hooks(trainer, runtime, folders, states)
            loop = TrainingLoop(trainer, runlog, hooks, states, runtime)
            if state:
                _restore(loop, state, _environment(trainer, compiled), folders)
            loop.environment = _environment(trainer, compiled)
            with explaining_out_of_memory(hardware.device, less_memory(model_params, p), loop.what_is_saved):
                loop.run(stop)
        if world.leads:
            write_model(trainer, folders, params)
            write_metrics(loop, folders, compiled)
        return trainer


@contextlib.contextmanager
def _states(folders: Folders, world: World, runtime: RuntimeParams) -> Iterator[States | None]:
    """The run's states, for the process that leads."""
    if folders.states is None or not world.leads:
        yield None
        return
    with open_states(folders.states, runtime.states_gb) as states:
        yield states


@contextlib.contextmanager
def _quiet(world: World) -> Iterator[None]:
    """Only the process that leads speaks."""
    before = log.level
    if not world.leads:
        log.setLevel(logging.ERROR)
    yield
    log.setLevel(before)


def _run_name(folders: Folders) -> str:
    return folders.states.name if folders.states else "train"


def _newest_state(states: States | None, world: World, folders: Folders) -> State | None:
    """The state to go on from, the same for every process of the run."""
    state = states.newest() if states else None
    if world.size == 1:
        return state
    step = world.agree(state.info["step"] if state else -1)
    if world.leads or step < 0 or folders.states is None:
        return state
    return States(folders.states).at(step)


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


def _restore(loop: TrainingLoop, state: State, environment: dict[str, Any], folders: Folders) -> None:
    loop.restore(state)
    step, steps = loop.trainer.step, loop.trainer.steps
    log.info("continuing after step %d of %d from %s; TINYLM_FRESH=1 starts anew", step, steps, folders.states)
    for name, value in state.info["environment"].items():
        if environment[name] != value:
            log.warning(
                "warning: %s was %s and is %s: the rest differs in the last bits from a run without a break",
                name,
                value,
                environment[name],
            )
    if loop.trainer.world.leads:
        assert loop.states
        for kept_step, folder in list_milestones(loop.states.milestones):
            if kept_step <= step:
                copy_checkpoint(folder, milestone_folder(folders.checkpoints, kept_step))


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
        "%d steps of %d windows x %d tokens: %.1f epochs; each of %s training tokens is seen %.1f times",
        trainer.steps,
        trainer.p.batch_size,
        trainer.context,
        trainer.epochs(trainer.steps),
        f"{len(tokens.train.tokens):,}",
        trainer.steps * trainer.tokens_per_step / len(tokens.train.tokens),
    )
    needed = step_bytes(trainer.model, trainer.p.micro_batch_size or trainer.share)
    free = free_bytes(trainer.hardware.device)
    if free is not None and needed > free:
        log.warning(
            "warning: training takes about %s of memory, and %s are free; %s",
            gigabytes(needed),
            gigabytes(free),
            less_memory(trainer.model.params, trainer.p),
        )
    else:
        log.info("memory: about %s", gigabytes(needed))


def less_memory(model: ModelParams, p: TrainParams) -> str:
    """What a user can do about a step that does not fit."""
    micro = p.micro_batch_size or f"null: all {p.batch_size} of train.batch_size"
    return (
        f"lower train.micro_batch_size ({micro}), which changes nothing else, or model.context ({model.context}) "
        f"or model.width ({model.width})"
    )


def make_hooks(trainer: Trainer, runtime: RuntimeParams, folders: Folders, states: States | None) -> Hooks:
    tokenizer = load_tokenizer(folders.tokenizer)
    model, end_of_text = trainer.model, trainer.tokens.end_of_text

    def save_milestone(step: int) -> None:
        if not trainer.world.leads:
            return
        folder = milestone_folder(folders.checkpoints, step)
        remove_torn(folder)
        save_weights(folder, model.state_dict(), model.params, model.vocab_size, end_of_text)
        if states:
            copy_checkpoint(folder, milestone_folder(states.milestones, step))

    def show_sample(step: int) -> None:
        if trainer.world.leads:
            story = live_sample(model, tokenizer, end_of_text, runtime.sample_prompt, step)
            log.info("--- a story at step %d:\n%s\n---", step, story)

    return Hooks(save_milestone, show_sample)
