"""What several devices send each other in a step of training, and how long that takes.

For P parameters, of which B are in blocks, on n devices, with m micro-batches in a step, each device sends

    DDP     2 (n - 1) / n x 4 P                             the gradients, once a step, in float32
    FSDP    m (n - 1) / n x (2 b B + 4 B + 4 R + 4 R)       R = P - B, b bytes of the dtype that blocks compute in
    Muon    2 (n - 1) / n^2 x (bytes of its matrices)       if the matrices are sharded

FSDP gathers the weights of each block in the forward and in the backward pass, those outside of blocks once and in
float32, and sends each gradient once, in float32. Muon sends the rows of each matrix to the device that orthogonalizes
it, and gets them back. The numbers are those of ring algorithms, in which no device sends more than the others. Gloo,
which CPUs use, does not have FSDP's way of adding gradients up (reduce-scatter) and sends them twice, as for DDP.
"""

from dataclasses import dataclass

import torch

from tinylm.planning.sizes import count_in_blocks
from tinylm.planning.workload import Workload, sequences_of, share_of
from tinylm.train.sharding.layout import Layout

FLOAT32 = 4  # bytes of a gradient, and of a weight outside of blocks


@dataclass(frozen=True)
class Traffic:
    """What a device sends in a step [bytes]."""

    ring: float  # to its neighbour: gradients, and weights that are gathered
    pairs: float = 0.0  # to all others, the same to each: Muon's matrices

    @property
    def total(self) -> float:
        return self.ring + self.pairs


@dataclass(frozen=True)
class Links:
    """How devices are connected."""

    devices: int
    hosts: int  # machines, each with the same number of devices
    inside: float  # of a device to the others of its machine, in each direction [bytes/s]
    between: float  # of a machine to the others, in each direction [bytes/s]

    def seconds(self, sent: Traffic) -> float:
        """Return the time of a step that devices spend on sending.

        A ring passes from each machine to the next once, so its slowest link sets the pace. What goes to all others
        leaves a machine from each of its devices. Each message also takes some microseconds, which are left out.
        """
        if self.hosts == 1:
            return sent.total / self.inside
        each = self.devices // self.hosts
        outside = (self.devices - each) / (self.devices - 1)  # share of the other devices that are in other machines
        return sent.ring / self._ring + sent.pairs * max((1 - outside) / self.inside, outside * each / self.between)

    @property
    def pace(self) -> str:
        """The speed of the slowest link of a ring, in words."""
        inside = self.hosts == 1 or self._ring < self.between
        return f"{self._ring / 1e9:.3g} GB/s {'inside a machine' if inside else 'between machines'}"

    @property
    def _ring(self) -> float:
        if self.hosts == 1:
            return self.inside
        return self.between if self.devices == self.hosts else min(self.inside, self.between)


@dataclass(frozen=True)
class Exchange:
    """The communication of a step."""

    sent: Traffic
    links: Links | None  # None: unknown

    @property
    def seconds(self) -> float | None:
        """In a step; None if the links are unknown."""
        if self.links is None:
            return None if self.sent.total else 0.0
        return self.links.seconds(self.sent)


def traffic(
    run: Workload, layout: Layout, devices: int, dtype: torch.dtype, muon_dtype: torch.dtype, gloo: bool = False
) -> Traffic:
    """Return what each device sends in a step of a run that computes in `dtype`."""
    others = (devices - 1) / devices
    if not layout.sharded:
        return Traffic(2 * others * FLOAT32 * run.size.total)
    blocks, matrices = count_in_blocks(run.model, run.vocab_size)
    weights = 2 * dtype.itemsize * blocks + FLOAT32 * (run.size.total - blocks)
    gradients = (2 if gloo else 1) * FLOAT32 * run.size.total
    muon = 2 * others / devices * muon_dtype.itemsize * matrices if run.train.optimizer == "muon" else 0.0
    micro_batches = share_of(run, devices) // sequences_of(run, devices)
    return Traffic(micro_batches * others * (weights + gradients), muon)
