"""How long a training step takes on a GPU that is not here: the slowest of arithmetic, memory and kernel launches.

    arithmetic   FLOP / (peak x sustained share x width^2 / (width^2 + 800^2))
    memory       bytes moved / bandwidth
    launches     kernels x launch time

Several GPUs share the batch; the exchange of gradients (a ring all-reduce of float32) is added, as if nothing of it
were hidden behind the backward pass.

Small matrices reach only a part of a GPU's peak, which the factor with the width describes. Its two constants, 0.5
(`Device.sustained`) and 800, and the T4's own 0.2, were chosen so that the model comes near three published speeds:

    10M parameters, width 320    T4              21,000 tokens/s reported     25,000 here
    10M parameters, width 320    A100           230,000                      298,000
    GPT-2, 124M, width 768       8 A100         853,000                      693,000

The first two are of the reference of presets/four_hour.yaml; the third follows from nanoGPT's README: about four days
for 600,000 steps of 491,520 tokens on eight GPUs. None of them was measured with this code, no other GPU was checked.
"""

from dataclasses import dataclass

from tinylm.planning.devices import Machine
from tinylm.planning.workload import Workload
from tinylm.train.setup.memory import StepMemory

HALF_WIDTH = 800  # at this width, products reach half of the sustained share
# Of float32 weights: read and cast in the forward and in the backward pass (16 bytes); the gradient written, and read
# for its norm (12); AdamW (28) reads the weight, the gradient and two moments, and writes all but the gradient.
BYTES_PER_PARAMETER = 56
PASSES_OVER_SAVED = 4  # what is saved is written and read once, and so is its gradient
# Counted with a TorchDispatchMode, views left out, torch's own attention as one: 50 in the forward pass of a layer and
# 80 in the backward pass. Compiled code has about a third, an assumption.
LAUNCHES_PER_LAYER = {False: 130, True: 45}
LAUNCHES_PER_STEP = 60  # embedding, head, loss, norm of the gradient, AdamW
MUON_LAUNCHES_PER_LAYER = 35  # three for each of seven matrices, and the iterations of their shapes
LAUNCH = 6e-6  # seconds, an assumption


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
        return "the exchange of gradients" if self.exchange > parts[slowest] else slowest


def step_time(run: Workload, machine: Machine, share: StepMemory, compiled: bool) -> StepTime:
    """Return the time of a step. `share` is the memory of one GPU's share of the batch, in memory at once or not."""
    device, n, width = machine.device, machine.count, run.model.width
    efficiency = device.sustained * width**2 / (width**2 + HALF_WIDTH**2)
    flop = run.flop_per_token * run.tokens_per_step / n
    moved = BYTES_PER_PARAMETER * run.size.total + PASSES_OVER_SAVED * (share.activations + share.logits)
    micro_batches = max(1, run.train.batch_size // n // (run.train.micro_batch_size or run.train.batch_size))
    launches = LAUNCHES_PER_LAYER[compiled] * run.model.layers * micro_batches + LAUNCHES_PER_STEP
    if run.train.optimizer == "muon":
        launches += MUON_LAUNCHES_PER_LAYER * run.model.layers
    exchanged = 2 * (n - 1) / n * 4 * run.size.total
    return StepTime(
        flop / (1e12 * device.tflops * efficiency),
        moved / (1e9 * device.bandwidth),
        LAUNCH * launches,
        exchanged / (1e9 * device.link),
    )
