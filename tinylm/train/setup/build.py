"""The model of a run with its initial weights: whole, or sharded over the processes."""

import logging
from pathlib import Path

import torch

from tinylm.compute.device import Hardware
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.tokens.store import TokenStore
from tinylm.train.batches import fit_context
from tinylm.train.params import TrainParams
from tinylm.train.setup.initial_model import load_initial
from tinylm.train.sharding.layout import Layout

log = logging.getLogger("tinylm")


def fit_to_text(model_params: ModelParams, tokens: TokenStore) -> ModelParams:
    """The parameters with a context that is shortened, with a warning, if the training text is shorter."""
    context = fit_context(model_params.context, len(tokens.train.tokens))
    if context < model_params.context:
        log.warning(
            "warning: the training text has %d tokens: model.context shortened from %d to %d",
            len(tokens.train.tokens),
            model_params.context,
            context,
        )
    return model_params.model_copy(update={"context": context})


def build_model(
    model_params: ModelParams, vocab_size: int, p: TrainParams, hardware: Hardware, layout: Layout, processes: int
) -> Transformer:
    """A model with its initial weights, the same in each layout."""
    generator = torch.Generator().manual_seed(p.seed)
    if layout.sharded:
        from tinylm.train.sharding import sharded_model as sharded  # takes a second

        model = sharded.build_sharded(model_params, vocab_size, hardware.dtype, hardware.device, processes)
        sharded.load_initial(model, Path(p.init_from)) if p.init_from else sharded.initialize(model, generator)
    else:
        model = Transformer(model_params, vocab_size, hardware.dtype)
        load_initial(model, Path(p.init_from)) if p.init_from else model.initialize(generator)
    if p.init_from:
        log.info("initial weights: %s", p.init_from)
    model.checkpointing = layout.checkpointing
    return model
