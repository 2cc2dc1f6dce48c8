"""The compared models: those of this project, Transformers, nanoGPT and llama2.c, of the same size."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import ROOT
from tinylm.base.params import read_params
from tinylm.compute.device import Hardware
from tinylm.model import huggingface
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.train.params import TrainParams
from tinylm.train_tokenizer.params import TrainTokenizerParams


@dataclass(frozen=True)
class Size:
    """The size of a model and of its training batch."""

    name: str
    model: ModelParams
    vocab_size: int
    batch_size: int

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.model.context


def sizes() -> list[Size]:
    """Return the sizes that are benchmarked."""
    large, small = (read_params(ROOT / f"presets/{name}.yaml") for name in ("four_hour", "quick"))
    return [
        Size("10M", large[ModelParams], 8000, 8),
        Size("1.3M", small[ModelParams], small[TrainTokenizerParams].vocab_size, 16),
    ]


def train_params(**changes: Any) -> TrainParams:
    """Return the training parameters of params.yaml with changes."""
    return read_params(ROOT / "params.yaml")[TrainParams].model_copy(update=changes)


def make_model(size: Size, hardware: Hardware, seed: int = 1) -> Transformer:
    """Return this project's model with random weights."""
    model = Transformer(size.model, size.vocab_size, hardware.dtype)
    model.initialize(torch.Generator().manual_seed(seed))
    return model


def transformers_model(size: Size, dtype: torch.dtype = torch.float32) -> Any:
    """Return Transformers' own model of the same configuration, with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = huggingface.to_config(size.model, size.vocab_size, 0)
    kind = config.pop("model_type")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config))
    return model.to(dtype)


def load_model_file(checkout: Path, project: str) -> Any:
    """Return the module model.py of a checkout of another project, which `--PROJECT` names."""
    name, path = f"model_of_{project}", checkout / "model.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        sys.exit(f"error: --{project}: expected a checkout of its repository, found no model.py in {checkout}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclass looks up its own module there
    spec.loader.exec_module(module)
    return module


def nanogpt_model(checkout: Path, size: Size) -> Any:
    """Return nanoGPT's model, from a checkout."""
    module, p = load_model_file(checkout, "nanogpt"), size.model
    return module.GPT(
        module.GPTConfig(
            block_size=p.context,
            vocab_size=size.vocab_size,
            n_layer=p.layers,
            n_head=p.heads,
            n_embd=p.width,
            dropout=0.0,
            bias=False,
        )
    )


def llama2c_model(checkout: Path, size: Size) -> Any:
    """Return the model of llama2.c's trainer, from a checkout."""
    module, p = load_model_file(checkout, "llama2c"), size.model
    arguments = module.ModelArgs(
        dim=p.width,
        n_layers=p.layers,
        n_heads=p.heads,
        vocab_size=size.vocab_size,
        hidden_dim=p.mlp_width,
        max_seq_len=p.context,
        dropout=0.0,
    )
    return module.Transformer(arguments)


LossOf = Callable[[Tensor, Tensor], Tensor]


def plain_step(model: Any, loss_of: LossOf, optimizer: torch.optim.Optimizer, ids: Tensor, targets: Tensor) -> Tensor:
    """Run a plain training step, as in tutorials; return the loss."""
    loss = loss_of(ids, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss
