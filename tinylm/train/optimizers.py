"""Which optimizer moves which weights."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from tinylm.compute.device import has_bf16
from tinylm.model.transformer import Transformer
from tinylm.train.muon import Muon
from tinylm.train.params import TrainParams


class _AsOne:
    """What a loss scaler needs of an optimizer, for several of them.

    A scaler skips the steps of those optimizers whose own gradients overflow. But clipping is global: one
    gradient that is no number spoils all of them, so all steps have to be skipped together.
    """

    def __init__(self, optimizers: list[Optimizer]):
        self._all = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._all for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self._all:
            optimizer.step()


class Optimizers:
    """One or two optimizers that step together; each group's learning rate is its peak times one factor."""

    def __init__(self, optimizers: list[Optimizer]):
        self.all = optimizers
        self._as_one: Any = _AsOne(optimizers)
        for group in self.groups():
            group["peak_lr"] = group["lr"]

    def groups(self) -> Iterator[dict[str, object]]:
        for optimizer in self.all:
            yield from optimizer.param_groups

    def set_factor(self, factor: float) -> None:
        for group in self.groups():
            group["lr"] = group["peak_lr"] * factor  # type: ignore[operator]

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Step, or skip the step of all where `unscale` found a gradient that is no number."""
        scaler.step(self._as_one)
        scaler.update()

    def state(self) -> dict[str, Tensor]:
        """What the optimizers remember of each weight, by optimizer, number of the weight and name."""
        return {
            f"{number}.{weight}.{name}": value
            for number, optimizer in enumerate(self.all)
            for weight, values in optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for number, optimizer in enumerate(self.all):
            own: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                of, weight, name = key.split(".")
                if int(of) == number:
                    own.setdefault(int(weight), {})[name] = value
            optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Undo the loss scale in the gradients, so that their norm is the true one."""
        if scaler.is_enabled():
            scaler.unscale_(self._as_one)

    def zero_grad(self) -> None:
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: Transformer, p: TrainParams) -> Optimizers:
    """AdamW for all, or Muon for the hidden matrices beside it. Weight decay is on matrices only.

    AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101. Muon: Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/.
    """
    device = model.embedding.weight.device
    hidden, matrices, vectors = split_weights(model)
    if p.optimizer == "adamw":
        matrices = hidden + matrices
    adamw = AdamW(
        [
            {"params": matrices, "weight_decay": p.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=p.peak_lr,
        betas=(p.beta1, p.beta2),
        fused=device.type != "mps",
    )
    if p.optimizer == "adamw":
        return Optimizers([adamw])
    dtype = torch.bfloat16 if has_bf16(device) else torch.float32
    muon = Muon(hidden, p.muon_lr, p.momentum, p.weight_decay, dtype)
    return Optimizers([muon, adamw])


def split_weights(model: Transformer) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, other matrices: embeddings and head, vectors: norms and biases)."""
    hidden = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
    known = {id(weight) for weight in hidden}
    others = [weight for weight in model.parameters() if id(weight) not in known]
    return hidden, [w for w in others if w.ndim == 2], [w for w in others if w.ndim < 2]
