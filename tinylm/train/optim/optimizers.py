"""The optimizers, and which weights each of them updates."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from tinylm.compute.device import has_bf16
from tinylm.model.transformer import Transformer
from tinylm.train.optim.muon import Muon
from tinylm.train.params import TrainParams


class _AsOne:
    """Several optimizers with the interface of one, as far as a loss scaler uses it.

    Given each optimizer by itself, a scaler skips only those whose own gradients overflow. But clipping is global: a
    gradient that is not finite spoils all of them, so all optimizers have to skip the step together.
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
    """Optimizers that step together; the learning rate of each group is its base rate times a common factor.

    The last optimizer is AdamW, whose learning rate is reported.
    """

    def __init__(self, optimizers: list[Optimizer]):
        self.all = optimizers
        self._as_one: Any = _AsOne(optimizers)
        for group in self.groups():
            group["base_lr"] = group["lr"]

    def groups(self) -> Iterator[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        for optimizer in self.all:
            yield from optimizer.param_groups

    def set_factor(self, factor: float) -> None:
        """Set the learning rate of every group to its base rate times `factor`."""
        for group in self.groups():
            group["lr"] = group["base_lr"] * factor

    @property
    def learning_rate(self) -> float:
        """AdamW's current learning rate."""
        return float(self.all[-1].param_groups[0]["lr"])

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Step all optimizers, or none of them if `unscale` found a gradient that is not finite."""
        scaler.step(self._as_one)
        scaler.update()

    def state(self) -> dict[str, Tensor]:
        """The optimizer state of each weight; keys are `OPTIMIZER.WEIGHT.NAME`, the first two being numbers."""
        return {
            f"{number}.{weight}.{name}": value
            for number, optimizer in enumerate(self.all)
            for weight, values in optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load what `state` returned."""
        for number, optimizer in enumerate(self.all):
            own: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                of, weight, name = key.split(".")
                if int(of) == number:
                    own.setdefault(int(weight), {})[name] = value
            optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the loss scale, so that their norm is the true one."""
        if scaler.is_enabled():
            scaler.unscale_(self._as_one)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: Transformer, p: TrainParams, sharded: bool = False) -> Optimizers:
    """AdamW for all weights, or Muon for the hidden matrices and AdamW for the rest. Only matrices have weight decay.

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
    kind: type[Muon] = Muon
    if sharded:
        from tinylm.train.sharding.sharded_muon import ShardedMuon  # takes a second

        kind = ShardedMuon
    muon = kind(hidden, p.muon_lr, p.momentum, p.weight_decay, dtype)
    return Optimizers([muon, adamw])


def split_weights(model: Transformer) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks; other matrices: embeddings and head; vectors: norms and biases)."""
    hidden = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
    known = {id(weight) for weight in hidden}
    others = [weight for weight in model.parameters() if id(weight) not in known]
    return hidden, [w for w in others if w.ndim == 2], [w for w in others if w.ndim < 2]
