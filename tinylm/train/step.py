"""A training step, a validation, and everything that changes from step to step.

A step is a pure function of the weights, the optimizers' state and the step's number: its sequences
and its dropout are drawn from (seed, step), never from what ran before.
"""

import contextlib
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import hash_counters
from tinylm.compute.device import Hardware
from tinylm.compute.distributed import World
from tinylm.model.huggingface import Weights
from tinylm.model.transformer import Transformer
from tinylm.scoring.story_losses import StoryLosses
from tinylm.tokens.store import TokenSplit, TokenStore
from tinylm.train.batches import RandomSequences, ResidentTokens, Sequences, StridedSequences, gather, starts_with_room
from tinylm.train.optimizers import build_optimizers
from tinylm.train.params import TrainParams
from tinylm.train.schedule import learning_rate_factor
from tinylm.train.validation import StorySample


def make_sequences(p: TrainParams, split: TokenSplit, context: int) -> Sequences:
    tokens = len(split.tokens)
    story_starts = starts_with_room(split.offsets, tokens, context) if p.align == "story" else None
    if p.sequences == "random":
        return RandomSequences(tokens, context, p.seed, story_starts)
    return StridedSequences(tokens, context, p.seed, p.stride or context, story_starts)


def count_steps(p: TrainParams, sequences: Sequences) -> int:
    """Steps of the run: as given, or those that `epochs` times through all sequences take."""
    if p.steps is not None:
        return p.steps
    assert p.epochs is not None
    return math.ceil(p.epochs * sequences.per_epoch / p.batch_size)


@dataclass
class Best:
    """The weights with the lowest validation loss so far."""

    validation: StoryLosses | None = None
    step: int = 0
    weights: Weights = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return self.validation.loss if self.validation else math.inf


class _Loss(nn.Module):
    """The model's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, model: Transformer, compiled: bool):
        super().__init__()
        self.model = model
        self.loss_of = torch.compile(model.loss_of, dynamic=False) if compiled else model.loss_of

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.loss_of(self.model.embed(ids), targets)


def keep_resident(tokens: NDArray[np.unsignedinteger], device: torch.device) -> ResidentTokens | None:
    """The training tokens on a GPU, if they take no more than a quarter of what is free there."""
    if device.type != "cuda" or 4 * tokens.nbytes > torch.cuda.mem_get_info(device)[0]:
        return None
    return ResidentTokens(tokens, device)


class Trainer:
    """Everything that changes from step to step: weights, optimizers, scaler, best so far."""

    def __init__(
        self,
        model: Transformer,
        p: TrainParams,
        tokens: TokenStore,
        hardware: Hardware,
        compiled: bool,
        world: World | None = None,
    ):
        self.p, self.tokens, self.hardware, self.world = p, tokens, hardware, world or World()
        self.step = 0  # steps done
        self.model = model.to(hardware.device)
        self.context = model.params.context
        self.sequences = make_sequences(p, tokens.train, self.context)
        self.sample = StorySample(tokens.val, tokens.end_of_text, self.context, p.val_stories)
        self.steps = count_steps(p, self.sequences)
        if p.warmup_steps > self.steps:
            raise UserError(
                f"train.warmup_steps: expected at most the {self.steps} steps of the run, got {p.warmup_steps}"
            )
        self.optimizers = build_optimizers(self.model, p)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == "fp16")
        self.best = Best()
        self.evals_without_gain = 0  # validations since the best one
        self.waited = 0.0  # seconds spent on reading sequences
        self.share = self.world.share(p.batch_size)  # sequences of a batch for this process
        if p.micro_batch_size and self.share % p.micro_batch_size:
            raise UserError(
                f"train.micro_batch_size: expected a divisor of the {self.share} sequences that each of "
                f"{self.world.size} processes has, got {p.micro_batch_size}"
            )
        self._resident = keep_resident(tokens.train.tokens, hardware.device)
        self._loss = self.world.wrap(_Loss(self.model, compiled))

    @property
    def tokens_per_step(self) -> int:
        return self.p.batch_size * self.context

    def epochs(self, steps: int) -> float:
        """How many times so many steps go through all sequences, which with overlap hold each token more than once."""
        return steps * self.p.batch_size / self.sequences.per_epoch

    def learning_rate(self, step: int) -> float:
        return self.p.peak_lr * self._factor(step)

    def _factor(self, step: int) -> float:
        return learning_rate_factor(step, self.steps, self.p.warmup_steps, self.p.final_lr_fraction, self.p.decay)

    def train_step(self, step: int) -> tuple[Tensor, Tensor]:
        """One optimizer step; gives the loss of its batch before it and the norm of the gradient, both scalars."""
        loss = self._accumulate_gradients(step)
        self.optimizers.set_factor(self._factor(step))
        self.optimizers.unscale(self.scaler)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.p.grad_clip or math.inf)
        self.optimizers.step(self.scaler)
        self.optimizers.zero_grad()
        self.step = step + 1
        return loss, norm

    def _accumulate_gradients(self, step: int) -> Tensor:
        """Gradients of the mean loss over the whole batch; gives the loss of this process's share of it.

        A micro-batch is in memory at a time. The processes exchange gradients once, after the last one.
        """
        micro = self.p.micro_batch_size or self.share
        total = torch.zeros((), device=self.hardware.device)
        begin = self.world.rank * self.share
        for first in range(begin, begin + self.share, micro):
            rows = np.arange(first, first + micro, dtype=np.uint64)
            starts = self.sequences.starts(step, rows, self.p.batch_size)
            if self.model.params.dropout:  # torch's dropout draws from the global generator alone
                torch.manual_seed(int(hash_counters(self.p.seed, step, first)[0] >> np.uint64(1)))
            batch = self._to_device(starts)
            with self._without_exchange() if first + micro < begin + self.share else contextlib.nullcontext():
                loss = self._loss(*batch) * (micro / self.share)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        if isinstance(self._loss, DistributedDataParallel):
            return self._loss.no_sync()
        return contextlib.nullcontext()

    def _to_device(self, starts: np.ndarray) -> tuple[Tensor, Tensor]:
        began = time.perf_counter()
        if self._resident:
            ids, targets = self._resident.gather(starts, self.context)
        else:
            ids, targets = gather(self.tokens.train.tokens, starts, self.context)
        self.waited += time.perf_counter() - began
        return ids.to(self.hardware.device, non_blocking=True), targets.to(self.hardware.device, non_blocking=True)

    def validate(self) -> StoryLosses:
        """The losses of the same whole stories each time."""
        self.model.eval()
        validation = self.sample.score(self.model, self.p.micro_batch_size or self.p.batch_size, self.world)
        self.model.train()
        return validation

    def keep_best(self, step: int, validation: StoryLosses) -> None:
        self.evals_without_gain += 1
        if validation.loss < self.best.loss:
            weights = {name: weight.detach().clone() for name, weight in self.model.state_dict().items()}
            self.best = Best(validation, step, weights)
            self.evals_without_gain = 0
