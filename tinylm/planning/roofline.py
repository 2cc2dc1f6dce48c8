"""How long a training step takes on a GPU that is not here: the slowest of arithmetic, memory and kernel launches.

    arithmetic   FLOP / (peak x sustained share x width^2 / (width^2 + 800^2))
    memory       bytes moved / bandwidth
    launches     kernels x launch time

Several GPUs share the batch; the time of what they send each other (communication.py) is added, as if computation hid
nothing of it. Blocks that are computed again take the work of their forward pass once more.

Small matrices reach only a part of a GPU's peak, which the factor with the width describes. Its two constants, 0.5
(`Device.sustained`) and 800, and the T4's own 0.2, were chosen so that the model comes near three published speeds:

    10M parameters, width 320    T4              21,000 tokens/s reported     25,000 here
    10M parameters, width 320    A100           230,000                      298,000
    GPT-2, 124M, width 768       8 A100         853,000                      693,000

The first two are of the reference of presets/four_hour.yaml; the third follows from nanoGPT's README: about four days
for 600,000 steps of 491,520 tokens on eight GPUs. None of them was measured with this code, no other GPU was checked.
"""

from dataclasses import dataclass

import torch

from tinylm.model.transformer import training_flop_per_token
from tinylm.planning.communication import traffic
from tinylm.planning.devices import Cluster
from tinylm.planning.sizes import count_in_blocks
from tinylm.planning.workload import Workload, sequences_of, share_of
from tinylm.train.setup.memory import StepMemory
from tinylm.train.sharding.layout import Layout

HALF_WIDTH = 800  # at this width, products reach half of the sustained share
# Of float32 weights: read and cast in the forward and in the backward pass (16 bytes); the gradient written, and read
# for its norm (12); AdamW (28) reads the weight, the gradient and two moments, and writes all but the gradient.
BYTES_PER_PARAMETER = 56
BYTES_OF_UPDATE = 28  # of these, AdamW's; each device updates its part if weights are sharded
PASSES_OVER_SAVED = 4  # what is saved is written and read once, and so is its gradient
# Counted with a TorchDispatchMode, views left out, torch's own attention as one: 50 in the forward pass of a layer and
# 80 in the backward pass. Compiled code has about a third, an assumption.
LAUNCHES_PER_LAYER = {False: 130, True: 45}
FORWARD_LAUNCHES = 50 / 130
LAUNCHES_PER_STEP = 60  # embedding, head, loss, norm of the gradient, AdamW
MUON_LAUNCHES_PER_LAYER = 35  # three for each of seven matrices, and the iterations of their shapes
LAUNCH = 6e-6  # seconds, an assumption
HALF = torch.bfloat16  # the dtype of blocks and of Muon; fp16 is as long
WHOLE = Layout()


@dataclass(frozen=True)
class StepTime:
    """What takes how long in a step [s]."""

    arithmetic: float
    memory: float
    launches: float
    exchange: float

    @property
    def seconds(self) -> float:
        return max(self.arithmetic, self.memory, self.launches) + self.exchange

    @property
    def bound(self) -> str:
        """What the step waits for."""
        parts = {"arithmetic": self.arithmetic, "memory": self.memory, "kernel launches": self.launches}
        slowest = max(parts, key=lambda name: parts[name])
        return "communication" if self.exchange > parts[slowest] else slowest


def step_time(run: Workload, cluster: Cluster, share: StepMemory, compiled: bool, layout: Layout = WHOLE) -> StepTime:
    """Return the time of a step.

    `share` is the memory of one GPU's share of the batch, in memory at once or not, without blocks computed again.
    """
    device, n, width = cluster.device, cluster.count, run.model.width
    efficiency = device.sustained * width**2 / (width**2 + HALF_WIDTH**2)
    per_token, passes, per_layer = float(run.flop_per_token), PASSES_OVER_SAVED, float(LAUNCHES_PER_LAYER[compiled])
    if layout.checkpointing:
        blocks, _ = count_in_blocks(run.model, run.vocab_size)
        per_token += training_flop_per_token(run.model, blocks) / 3  # the forward pass is a third of both
        passes += 1
        per_layer *= 1 + FORWARD_LAUNCHES
    update = BYTES_OF_UPDATE / n if layout.sharded else BYTES_OF_UPDATE
    moved = (BYTES_PER_PARAMETER - BYTES_OF_UPDATE + update) * run.size.total
    moved += passes * (share.activations + share.logits)
    micro_batches = share_of(run, n) // sequences_of(run, n)
    launches = per_layer * run.model.layers * micro_batches + LAUNCHES_PER_STEP
    if run.train.optimizer == "muon":
        launches += MUON_LAUNCHES_PER_LAYER * run.model.layers
    return StepTime(
        per_token * run.tokens_per_step / n / (1e12 * device.tflops * efficiency),
        moved / (1e9 * device.bandwidth),
        LAUNCH * launches,
        cluster.links.seconds(traffic(run, layout, n, HALF, HALF)),
    )
