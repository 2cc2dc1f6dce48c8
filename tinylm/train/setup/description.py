"""The log lines before the first step: hardware, model size, length of the run and memory estimate."""

import logging

from tinylm.compute.distributed import local_processes
from tinylm.compute.memory import gigabytes
from tinylm.model.params import ModelParams
from tinylm.train.params import TrainParams
from tinylm.train.sharding.layout import free_for_process, memory_of_layout
from tinylm.train.step import Trainer

log = logging.getLogger("tinylm")


def describe(trainer: Trainer) -> None:
    """Log what is about to run and how big it is; warn if a step is not expected to fit into memory."""
    size, tokens = trainer.model.size(), trainer.tokens
    world = trainer.world
    log.info("on %s%s", trainer.hardware, ", compiled" if trainer.compiled else "")
    if len(world.hosts) > 1:
        log.info("on %d processes of %d machines: %s", world.size, len(world.hosts), ", ".join(world.hosts))
    log.info(
        "model: %s, %s parameters, %.1f MB in fp32, %.1f MB in bf16",
        trainer.model.params.architecture,
        f"{size.parameters:,}",
        size.megabytes_fp32,
        size.megabytes_bf16,
    )
    log.info(
        "%d steps of %d sequences x %d tokens: %.1f epochs; each of %s training tokens is seen %.1f times",
        trainer.steps,
        trainer.p.batch_size,
        trainer.context,
        trainer.epochs(trainer.steps),
        f"{len(tokens.train.tokens):,}",
        trainer.steps * trainer.tokens_per_step / len(tokens.train.tokens),
    )
    model, sequences = trainer.model, trainer.p.micro_batch_size or trainer.share
    needed = memory_of_layout(
        trainer.layout, model.params, model.vocab_size, trainer.hardware, sequences, trainer.world.size
    ).total
    free = free_for_process(trainer.hardware.device, local_processes())
    if free is not None and needed > free:
        log.warning(
            "warning: training takes about %s of memory, and %s are free; %s",
            gigabytes(needed),
            gigabytes(free),
            memory_remedy(trainer.model.params, trainer.p),
        )
    else:
        log.info("memory: about %s", gigabytes(needed))


def memory_remedy(model: ModelParams, p: TrainParams) -> str:
    """What the user can do if a step does not fit into memory, for the end of a message."""
    micro = p.micro_batch_size or f"null: all {p.batch_size} of train.batch_size"
    return (
        f"lower train.micro_batch_size ({micro}), which changes nothing else, or model.context ({model.context}) "
        f"or model.width ({model.width})"
    )
