"""The training step, validation, and the state that changes from step to step.

A step is a pure function of the weights, the optimizer state and the number of the step: its sequences and its
dropout masks are drawn from (seed, step), never from a generator that earlier steps have advanced.
"""

import contextlib
import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tinylm.base.errors import UserError
from tinylm.compute.compiling import compile_function
from tinylm.compute.counter_rng import hash_counters
from tinylm.compute.device import Hardware
from tinylm.compute.distributed import World
from tinylm.model.transformer import Transformer
from tinylm.scoring.story_losses import StoryLosses
from tinylm.tokens.shards import Ids
from tinylm.tokens.store import TokenSplit, TokenStore
from tinylm.train.batches import RandomSequences, ResidentTokens, Sequences, StridedSequences, gather, starts_with_room
from tinylm.train.early_stopping import Best
from tinylm.train.optim.optimizers import build_optimizers
from tinylm.train.optim.schedule import learning_rate_factor
from tinylm.train.params import TrainParams
from tinylm.train.sharding.layout import Layout
from tinylm.train.validation import StorySample


def make_sequences(p: TrainParams, split: TokenSplit, context: int) -> Sequences:
    """The training sequences that `p.sequences`, `p.align` and `p.stride` ask for."""
    tokens = len(split.tokens)
    story_starts = starts_with_room(split.offsets, tokens, context) if p.align == "story" else None
    if p.sequences == "random":
        return RandomSequences(tokens, context, p.seed, story_starts)
    return StridedSequences(tokens, context, p.seed, p.stride or context, story_starts)


def count_steps(p: TrainParams, sequences: Sequences) -> int:
    """Steps of the run: `p.steps`, or as many as `p.epochs` passes over all sequences take."""
    if p.steps is not None:
        return p.steps
    assert p.epochs is not None
    return math.ceil(p.epochs * sequences.per_epoch / p.batch_size)


WHOLE = Layout()


class _Loss(nn.Module):
    """The model's loss as a module, which DistributedDataParallel needs."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model
        self.loss_of = model.loss_of

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.loss_of(self.model.embed(ids), targets)


def keep_resident(tokens: Ids, device: torch.device) -> ResidentTokens | None:
    """The training tokens in GPU memory, if they take at most a quarter of the free memory; else None."""
    if device.type != "cuda" or 4 * tokens.nbytes > torch.cuda.mem_get_info(device)[0]:
        return None
    return ResidentTokens(tokens, device)


class Trainer:
    """Everything that changes from step to step: weights, optimizers, loss scaler, best weights so far.

    Raises UserError for a warm-up longer than the run, and for a batch that cannot be divided.
    """

    def __init__(
        self,
        model: Transformer,
        p: TrainParams,
        tokens: TokenStore,
        hardware: Hardware,
        compiled: bool = False,
        world: World | None = None,
        layout: Layout = WHOLE,
    ):
        self.p, self.tokens, self.hardware, self.world = p, tokens, hardware, world or World()
        self.layout = layout
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
        self.optimizers = build_optimizers(self.model, p, layout.sharded)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == "fp16")
        self.best = Best()
        self.waited = 0.0  # seconds spent reading sequences
        self.share = self.world.share(p.batch_size)  # sequences of a batch for this process
        if p.micro_batch_size and self.share % p.micro_batch_size:
            raise UserError(
                f"train.micro_batch_size: expected a divisor of the {self.share} sequences that each of "
                f"{self.world.size} processes has, got {p.micro_batch_size}"
            )
        self._resident = keep_resident(tokens.train.tokens, hardware.device)
        self._module = _Loss(self.model)
        self._loss = self.model.loss if layout.sharded else self.world.wrap(self._module)
        self._settled = self.compiled = False
        if compiled:
            self.compile()

    def compile(self) -> None:
        """Use torch.compile from the next step on.

        What TorchInductor compiles it keeps between runs, in a folder of the system's temporary files that the
        environment variable TORCHINDUCTOR_CACHE_DIR can move.
        """
        from torch._functorch import config as autograd_config  # takes a second

        # Keep the traced backward pass too. Its key contains the code of linear_cross_entropy, so this is safe.
        autograd_config.autograd_cache_allow_custom_autograd_functions = True
        if self.layout.sharded:
            from tinylm.train.sharding.sharded_model import compile_blocks

            compile_blocks(self.model)
        else:
            self._module.loss_of = compile_function(self.model.loss_of, dynamic=False)
        self.compiled = True

    @property
    def tokens_per_step(self) -> int:
        return self.p.batch_size * self.context

    def epochs(self, steps: int) -> float:
        """Epochs in `steps`. Where sequences overlap, an epoch sees a token more than once."""
        return steps * self.p.batch_size / self.sequences.per_epoch

    def set_learning_rate(self, step: int) -> None:
        """Set the learning rates of all optimizers to those of `step` (0 to steps - 1)."""
        p = self.p
        factor = learning_rate_factor(step, self.steps, p.warmup_steps, p.final_lr_fraction, p.decay)
        self.optimizers.set_factor(factor)

    def train_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Do one optimizer step. Returns the loss of its batch before the step and the gradient norm, both scalars."""
        if not self._settled:
            self._settle(step)
        loss = self._accumulate_gradients(step)
        self.set_learning_rate(step)
        self.optimizers.unscale(self.scaler)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.p.grad_clip or math.inf)
        if self.layout.sharded:
            norm = norm.full_tensor()  # type: ignore[attr-defined]  # a DTensor, as the gradients are
        self.optimizers.step(self.scaler)
        self.optimizers.zero_grad()
        self.step = step + 1
        return loss, norm

    def _settle(self, step: int) -> None:
        """Let DistributedDataParallel lay out its buckets as in all later steps, before the first step of this process.

        It does so by the order of its first backward pass. The place of a gradient in its bucket decides in which
        order more than two processes add it up, so a resumed run would differ from an uninterrupted one in one step.
        """
        if self.world.size > 2 and isinstance(self._loss, DistributedDataParallel):
            self._accumulate_gradients(step)
            self.optimizers.zero_grad()
        self._settled = True

    def _accumulate_gradients(self, step: int) -> Tensor:
        """Compute the gradient of the mean loss over the whole batch; return the loss of this process's share.

        Only one micro-batch is in memory at a time. The processes exchange gradients once, after the last one.
        """
        micro = self.p.micro_batch_size or self.share
        total = torch.zeros((), device=self.hardware.device)
        begin = self.world.rank * self.share
        for first in range(begin, begin + self.share, micro):
            rows = np.arange(first, first + micro, dtype=np.uint64)
            starts = self.sequences.starts(step, rows, self.p.batch_size)
            if self.model.params.dropout:  # torch's dropout draws from the global generator only
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
        """Inputs and targets of the sequences at `starts`, each (rows, context), on the device."""
        began = time.perf_counter()
        if self._resident:
            ids, targets = self._resident.gather(starts, self.context)
        else:
            ids, targets = gather(self.tokens.train.tokens, starts, self.context)
        self.waited += time.perf_counter() - began
        return ids.to(self.hardware.device, non_blocking=True), targets.to(self.hardware.device, non_blocking=True)

    def validate(self) -> StoryLosses:
        """The losses of the validation stories, the same whole stories each time."""
        self.model.eval()
        validation = self.sample.score(self.model, self.p.micro_batch_size or self.p.batch_size, self.world)
        self.model.train()
        return validation
