"""The estimate of one run: size, memory, time, energy, cost, disk, and the bits per byte to expect."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tinylm.base.errors import UserError
from tinylm.compute.memory import gigabytes
from tinylm.planning.communication import Exchange
from tinylm.planning.law import KnownLaw
from tinylm.planning.probe import Speed
from tinylm.planning.targets import Choice, Target, choose_layout, memory_of
from tinylm.planning.workload import Workload, sequences_of, share_of
from tinylm.train.resume.checkpoints import KEPT
from tinylm.train.setup.memory import StepMemory

VALIDATION_COST = 1 / 3  # of a training step on as many tokens: a forward pass alone
WEIGHT = 4  # bytes of a weight in model folders and resume checkpoints
ENOUGH_TIMES = 4  # up to here, repeated text is worth about as much as new (Muennighoff et al. 2023, arXiv:2305.16264)
INSIDE = 1.05  # as far beyond its runs a law still counts as measured
SIGMAS = 1.96  # of a 95% interval


@dataclass(frozen=True)
class Estimate:
    """What a run takes and reaches."""

    run: Workload
    target: str
    devices: int
    sequences: int  # in the memory of one device at once
    memory: StepMemory
    chosen: Choice
    exchange: Exchange
    speed: Speed
    watts: float | None
    price: float | None  # per hour
    law: KnownLaw | None

    @property
    def seconds(self) -> float:
        """Of training, validations included."""
        return (self.run.tokens + VALIDATION_COST * self.run.validation_tokens) / self.speed.tokens_per_second

    @property
    def efficiency(self) -> tuple[float, float] | None:
        """Tokens/s, divided by those of as many times one device with memory for everything; None if not known.

        In the first one, that of `speed`, computation hides nothing of the communication; in the second all it can.
        """
        sending = self.exchange.seconds
        if self.speed.alone is None or sending is None:
            return None
        step = self.run.tokens_per_step / self.speed.tokens_per_second
        lowest = self.speed.tokens_per_second / (self.devices * self.speed.alone)
        return lowest, lowest * step / max(step - sending, sending)

    @property
    def kilowatt_hours(self) -> float | None:
        return None if self.watts is None else self.watts * self.seconds / 3.6e6

    @property
    def cost(self) -> float | None:
        return None if self.price is None else self.price * self.seconds / 3600

    @property
    def bits(self) -> float | None:
        """Bits per byte of unseen stories, by the law."""
        return self.law.predict(self.run.size, self.run.tokens) if self.law else None

    @property
    def bits_interval(self) -> tuple[float, float] | None:
        """The 95% interval of a new run by the typical error of the law; None outside of the law's runs."""
        if self.bits is None or self.law is None or self.law.beyond(self.run.size, self.run.tokens) > INSIDE:
            return None
        factor = math.exp(SIGMAS * self.law.typical_error)
        return self.bits / factor, self.bits * factor

    @property
    def disk(self) -> dict[str, int]:
        """What the run writes [bytes]; DVC's cache holds outputs once more where the file system has no links."""
        run, train = self.run, self.run.train
        saved = 2 + (max(0, run.steps - 1) // train.checkpoint_every if train.checkpoint_every else 0)
        model = WEIGHT * run.size.total
        # A shared matrix is saved under both of its names.
        state = WEIGHT * (run.size.total + (run.vocab_size * run.model.width if run.model.tie_embeddings else 0))
        moments = WEIGHT * (2 * run.size.total - (run.size.blocks if train.optimizer == "muon" else 0))
        return {
            "model": model,
            "checkpoints": saved * model,
            "resume checkpoints": KEPT * (2 * state + moments) + saved * model,  # the weights, and the best ones
            "token files": run.text_tokens * (2 if run.vocab_size <= 1 << 16 else 4),
        }

    def notes(self) -> list[str]:
        """Return what limits the estimate of the bits per byte."""
        if self.law is None:
            return []
        notes = []
        if (beyond := self.law.beyond(self.run.size, self.run.tokens)) > INSIDE:
            notes.append(f"extrapolated: {beyond:.3g} times beyond the runs of the law")
        if self.run.times_seen > ENOUGH_TIMES:
            notes.append(f"optimistic: each token is seen {self.run.times_seen:.1f} times, the law is of new text")
        if self.law.vocab_size not in (0, self.run.vocab_size):
            notes.append(
                f"the law is of {self.law.vocab_size:,} entries of the vocabulary, not {self.run.vocab_size:,}"
            )
        return notes

    def as_json(self) -> dict[str, Any]:
        """Return the estimate for programs."""
        run, layout = self.run, self.chosen.layout
        memory = asdict(self.memory) | {"workspace": self.memory.workspace, "total": self.memory.total}
        return {
            "device": self.target,
            "devices": self.devices,
            "parallel": ("fsdp" if layout.sharded else "ddp") if self.devices > 1 else None,
            "activation_checkpointing": layout.checkpointing,
            "sent_bytes_per_step": self.exchange.sent.total,
            "exchange_seconds_per_step": self.exchange.seconds,
            "efficiency": self.efficiency if self.devices > 1 else None,
            "parameters": asdict(run.size) | {"total": run.size.total},
            "memory_bytes": memory | {"sequences": self.sequences},
            "steps": run.steps,
            "tokens": run.tokens,
            "times_seen": run.times_seen,
            "flop": run.flop,
            "tokens_per_second": self.speed.tokens_per_second,
            "speed_source": self.speed.source,
            "seconds": self.seconds,
            "kilowatt_hours": self.kilowatt_hours,
            "cost": self.cost,
            "disk_bytes": self.disk,
            "bits_per_byte": self.bits,
            "range95": self.bits_interval,
            "law": self.law.path if self.law else None,
            "notes": self.notes(),
        }


def estimate(run: Workload, target: Target, law: KnownLaw | None, price: float | None = None) -> Estimate:
    """Estimate a run. Raises UserError if it does not fit into memory, with the largest micro-batch that does."""
    sequences = sequences_of(run, target.devices)
    chosen = choose_layout(run, target, sequences)
    layout, limit = chosen.layout, chosen.limit
    memory = memory_of(run, target, sequences, layout)
    if limit is not None and memory.total > limit:
        fitting = largest_micro_batch(run, target)
        remedy = (
            f"train.micro_batch_size: {fitting} fits, and changes nothing else"
            if fitting
            else "not even one sequence fits; lower model.width, model.layers or model.context"
        )
        raise UserError(
            f"{target.name}: training with {sequences} sequences in memory at once takes about "
            f"{gigabytes(memory.total)}, and {gigabytes(int(limit))} are there; {remedy}"
        )
    exchange, speed = target.exchange(run, layout), target.speed(run, layout)
    return Estimate(
        run, target.name, target.devices, sequences, memory, chosen, exchange, speed, target.watts, price, law
    )


def largest_micro_batch(run: Workload, target: Target) -> int | None:
    """Return the most sequences that fit into the memory of one device and divide its share; None if none do.

    Few in the whole model are preferred to many in one that is sharded or computes blocks again: that takes time.
    """
    share, fitting = share_of(run, target.devices), []
    for sequences in (n for n in range(1, share + 1) if share % n == 0):
        chosen = choose_layout(run, target, sequences)
        layout, limit = chosen.layout, chosen.limit
        if limit is None or memory_of(run, target, sequences, layout).total <= limit:
            fitting.append((not layout.checkpointing, not layout.sharded, sequences))
    return max(fitting)[-1] if fitting else None
