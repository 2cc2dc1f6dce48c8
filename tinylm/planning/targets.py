"""Where a run is planned for: GPUs by name, whose speed is modelled, or this machine, whose speed can be measured."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from tinylm.base.errors import UserError
from tinylm.compute.compiling import COMPILE_PAYS_AFTER_STEPS, resolve_compile
from tinylm.compute.device import DTYPES, Hardware, resolve_hardware
from tinylm.compute.memory import free_bytes
from tinylm.model.transformer import Transformer
from tinylm.planning.devices import Machine, find_by_driver_name
from tinylm.planning.probe import Speed, probe
from tinylm.planning.roofline import step_time
from tinylm.planning.sizes import gpu_memory
from tinylm.planning.workload import Workload
from tinylm.train.setup.memory import StepMemory, step_memory

RESERVED = 1e9  # of a GPU's memory, for CUDA itself [bytes]
# What the default model reaches per thread on a Zen 4 CPU [FLOP/s], eager and compiled (docs/how-to/speed.md); float32
# has half of the peak of bf16.
CPU_FLOPS = {False: 95e9, True: 150e9}
SLOWER_IN_FP32 = 2


class Target(Protocol):
    """Devices that train together; each holds the whole model and trains on its share of a batch."""

    @property
    def name(self) -> str: ...

    @property
    def devices(self) -> int: ...

    @property
    def watts(self) -> float | None:
        """Of all devices together, at most; None if unknown."""

    def memory(self, run: Workload, sequences: int) -> StepMemory:
        """Return the memory of one device with `sequences` in memory at once."""

    def limit(self) -> float | None:
        """Return the memory that one device has [bytes]; None if unknown."""

    def rough_speed(self, run: Workload) -> float:
        """Return about how fast training is [tokens/s], for choosing among many models."""

    def speed(self, run: Workload) -> Speed:
        """Return how fast training is."""


@dataclass(frozen=True)
class NamedTarget:
    """GPUs of the table."""

    machine: Machine

    @property
    def name(self) -> str:
        return str(self.machine)

    @property
    def devices(self) -> int:
        return self.machine.count

    @property
    def watts(self) -> float | None:
        return self.machine.count * self.machine.device.watts

    def memory(self, run: Workload, sequences: int) -> StepMemory:
        return gpu_memory(run.model, run.vocab_size, DTYPES[self.precision(run)], sequences)

    def limit(self) -> float | None:
        return 1e9 * self.machine.device.memory - RESERVED

    def rough_speed(self, run: Workload) -> float:
        return self.speed(run).tokens_per_second

    def speed(self, run: Workload) -> Speed:
        compiled = run.runtime.compile is True or (
            run.runtime.compile == "auto" and run.steps >= COMPILE_PAYS_AFTER_STEPS
        )
        share = self.memory(run, share_of(run, self.devices))
        step = step_time(run, self.machine, share, compiled)
        how = f"a model, not a measurement: {'compiled, ' * compiled}{self.precision(run)}; {step.bound} sets the pace"
        return Speed(run.tokens_per_step / step.seconds, how)

    def precision(self, run: Workload) -> str:
        """Return the precision that `auto` gives there. Raises UserError for one that the table has no figures of."""
        asked, device = run.train.precision, self.machine.device
        if asked == "auto":
            return "bf16" if device.bf16 else "fp16"
        if asked == "fp32" or (asked == "bf16" and not device.bf16):
            best = "bf16 and fp16" if device.bf16 else "fp16"
            raise UserError(f"train.precision: {asked} cannot be planned for {device.name}, only {best}; use auto")
        return asked


@dataclass
class LocalTarget:
    """The machine that this process runs on."""

    hardware: Hardware
    processes: int
    probing: bool
    compiled: bool | None = None  # None: as `runtime.compile` says
    measured: dict[int, float] = field(default_factory=dict)  # FLOP/s by number of parameters

    @property
    def name(self) -> str:
        return f"this machine, {self.hardware}"

    @property
    def devices(self) -> int:
        return self.processes

    @property
    def watts(self) -> float | None:
        machine = self._known()
        return machine.count * machine.device.watts if machine else None

    def memory(self, run: Workload, sequences: int) -> StepMemory:
        if self.hardware.device.type != "cpu":
            return gpu_memory(run.model, run.vocab_size, self.hardware.dtype, sequences)
        return step_memory(Transformer(run.model, run.vocab_size, self.hardware.dtype).train(), sequences)

    def limit(self) -> float | None:
        return free_bytes(self.hardware.device)

    def rough_speed(self, run: Workload) -> float:
        """As fast as the measured models of about this size, in FLOP/s."""
        if not self.probing:
            return self.speed(run).tokens_per_second
        if not self.measured:
            self.speed(run)
        sizes = sorted(self.measured)
        flops = [math.log(self.measured[size]) for size in sizes]
        return math.exp(np.interp(math.log(run.size.total), np.log(sizes), flops)) / run.flop_per_token

    def speed(self, run: Workload) -> Speed:
        compiled = self.compiled
        if compiled is None:
            compiled = resolve_compile(run.runtime.compile, self.hardware, run.steps, run.flop)
        if not self.probing:
            return self._modelled(run, compiled)
        found = probe(run, self.hardware, compiled, self.processes)
        self.measured[run.size.total] = found.tokens_per_second * run.flop_per_token
        return found

    def _modelled(self, run: Workload, compiled: bool) -> Speed:
        """Return the speed without a measurement. Raises UserError for a device without a model."""
        if machine := self._known():
            return NamedTarget(machine).speed(run)
        if self.hardware.device.type != "cpu":
            raise UserError(f"--no-probe: there is no model of {self.hardware.name}; leave it out to measure")
        flops = CPU_FLOPS[compiled] * self.hardware.threads * self.processes
        flops /= SLOWER_IN_FP32 if self.hardware.precision == "fp32" else 1
        how = f"a rough model of a CPU, not a measurement: {self.hardware.threads} threads, {self.hardware.precision}"
        return Speed(flops / run.flop_per_token, how)

    def _known(self) -> Machine | None:
        """Return this machine's GPUs if the table has them."""
        if self.hardware.device.type != "cuda":
            return None
        device = find_by_driver_name(self.hardware.name)
        return Machine(device, self.processes) if device else None


def local_target(run: Workload, probing: bool) -> LocalTarget:
    """Return this machine as a run would use it. Raises UserError for a device or precision that it does not have."""
    from tinylm.train.setup.processes import resolve_processes

    hardware = resolve_hardware(run.runtime, run.train.precision)
    processes = resolve_processes(run.model, run.train, run.runtime, run.vocab_size)
    if hardware.device.type == "cuda":
        torch.cuda.init()
    return LocalTarget(hardware, processes, probing)


def share_of(run: Workload, devices: int) -> int:
    """Return the sequences of a batch for one of several devices. Raises UserError if they cannot share equally."""
    batch = run.train.batch_size
    if batch % devices:
        raise UserError(f"train.batch_size: expected a multiple of the {devices} devices, got {batch}")
    return batch // devices
