"""Where a run is planned for: GPUs by name, whose speed is modelled, or this machine, whose speed can be measured."""

import math
import os
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.compiling import COMPILE_PAYS_AFTER_STEPS, resolve_compile
from tinylm.compute.device import Hardware, has_bf16, resolve_hardware
from tinylm.planning.communication import Exchange, Links, traffic
from tinylm.planning.devices import NETWORK, Cluster, find_by_driver_name
from tinylm.planning.probe import Speed, probe
from tinylm.planning.roofline import step_time
from tinylm.planning.workload import Workload, sequences_of, share_of
from tinylm.train.setup.memory import StepMemory
from tinylm.train.sharding.layout import Layout, choose, free_for_process, memory_of_layout

RESERVED = 1e9  # of a GPU's memory, for CUDA itself [bytes]
# What the default model reaches per thread on a Zen 4 CPU [FLOP/s], eager and compiled (docs/how-to/speed.md); float32
# has half of the peak of bf16.
CPU_FLOPS = {False: 95e9, True: 150e9}
SLOWER_IN_FP32 = 2
# What a process with one core sends by gloo [bytes/s], measured between two on a machine: an all-reduce of 25 MB at 1.0
# GB/s; FSDP's gathering of weights, and its way of adding gradients up, at 0.4 to 0.7 GB/s.
LOOPBACK = {False: 1.0e9, True: 0.5e9}
WHOLE = Layout()


class Target(Protocol):
    """Devices that train together; each trains on its share of a batch."""

    @property
    def name(self) -> str: ...

    @property
    def devices(self) -> int: ...

    @property
    def watts(self) -> float | None:
        """Of all devices together, at most; None if unknown."""

    def hardware_for(self, run: Workload) -> Hardware:
        """Return one of the devices as training resolves it."""

    def limit(self) -> float | None:
        """Return the memory that one device has [bytes]; None if unknown."""

    def exchange(self, run: Workload, layout: Layout) -> Exchange:
        """Return what the devices send each other in a step."""

    def rough_speed(self, run: Workload) -> float:
        """Return about how fast training is [tokens/s], for choosing among many models."""

    def speed(self, run: Workload, layout: Layout) -> Speed:
        """Return how fast training is."""


@dataclass(frozen=True)
class Choice:
    """The layout that training will choose, and why."""

    layout: Layout
    limit: float | None  # memory that one device has [bytes]; None if unknown
    looked_at: dict[Layout, int]  # memory that a device needs with those that `auto` looked at [bytes]


def choose_layout(run: Workload, target: Target, sequences: int) -> Choice:
    """Resolve the layout of a run as training does, with so many sequences in memory at once; raises as it does."""
    limit, looked_at = target.limit(), {}

    def fits(layout: Layout) -> bool:
        looked_at[layout] = memory_of(run, target, sequences, layout).total
        return limit is None or looked_at[layout] <= limit

    return Choice(choose(run.runtime, target.hardware_for(run), target.devices, fits), limit, looked_at)


def memory_of(run: Workload, target: Target, sequences: int, layout: Layout) -> StepMemory:
    """Return the memory of one device with `sequences` in memory at once."""
    return memory_of_layout(layout, run.model, run.vocab_size, target.hardware_for(run), sequences, target.devices)


@dataclass(frozen=True)
class NamedTarget:
    """GPUs of the table."""

    cluster: Cluster

    @property
    def name(self) -> str:
        return str(self.cluster)

    @property
    def devices(self) -> int:
        return self.cluster.count

    @property
    def watts(self) -> float | None:
        return self.cluster.count * self.cluster.device.watts

    def hardware_for(self, run: Workload) -> Hardware:
        """Raises UserError for a precision that the table has no figures of."""
        return Hardware(torch.device("cuda"), self._precision(run), 1)

    def limit(self) -> float | None:
        return 1e9 * self.cluster.device.memory - RESERVED

    def exchange(self, run: Workload, layout: Layout) -> Exchange:
        dtype = self.hardware_for(run).dtype
        return Exchange(traffic(run, layout, self.devices, dtype, torch.bfloat16), self.cluster.links)

    def rough_speed(self, run: Workload) -> float:
        layout = choose_layout(run, self, sequences_of(run, self.devices)).layout
        return self.speed(run, layout).tokens_per_second

    def speed(self, run: Workload, layout: Layout) -> Speed:
        compiled = run.runtime.compile is True or (
            run.runtime.compile == "auto" and run.steps >= COMPILE_PAYS_AFTER_STEPS
        )
        step, alone = (
            step_time(run, cluster, memory_of(run, self, share_of(run, cluster.count), WHOLE), compiled, kept)
            for cluster, kept in ((self.cluster, layout), (Cluster(self.cluster.device), WHOLE))
        )
        precision = self._precision(run)
        how = f"a model, not a measurement: {'compiled, ' * compiled}{precision}; {step.bound} sets the pace"
        return Speed(run.tokens_per_step / step.seconds, how, run.tokens_per_step / alone.seconds)

    def _precision(self, run: Workload) -> str:
        """Return the precision that `auto` gives there. Raises UserError for one that the table has no figures of."""
        asked, device = run.train.precision, self.cluster.device
        if asked == "auto":
            return "bf16" if device.bf16 else "fp16"
        if asked == "fp32" or (asked == "bf16" and not device.bf16):
            best = "bf16 and fp16" if device.bf16 else "fp16"
            raise UserError(f"train.precision: {asked} cannot be planned for {device.name}, only {best}; use auto")
        return asked


@dataclass
class LocalTarget:
    """The machine that this process runs on, alone or with others like it."""

    hardware: Hardware
    processes: int  # on each machine
    probing: bool
    compiled: bool | None = None  # None: as `runtime.compile` says
    hosts: int = 1  # machines
    network: float = NETWORK  # of a machine to the others [bytes/s]
    measured: dict[int, float] = field(default_factory=dict)  # FLOP/s by number of parameters

    @property
    def name(self) -> str:
        others = f", and {self.hosts - 1} more like it" if self.hosts > 1 else ""
        each = f" for each of {self.processes} processes" if self.processes > 1 else ""
        return f"this machine, {self.hardware}{each}{others}"

    @property
    def devices(self) -> int:
        return self.processes * self.hosts

    @property
    def watts(self) -> float | None:
        cluster = self._known()
        return cluster.count * cluster.device.watts if cluster else None

    def hardware_for(self, run: Workload) -> Hardware:
        return self.hardware

    def limit(self) -> float | None:
        return free_for_process(self.hardware.device, self.processes)

    def exchange(self, run: Workload, layout: Layout) -> Exchange:
        device = self.hardware.device
        muon = torch.bfloat16 if has_bf16(device) else torch.float32
        sent = traffic(run, layout, self.devices, self.hardware.dtype, muon, gloo=device.type == "cpu")
        if cluster := self._known():
            return Exchange(sent, cluster.links)
        if device.type != "cpu":
            return Exchange(sent, None)
        gloo = LOOPBACK[layout.sharded]
        return Exchange(sent, Links(self.devices, self.hosts, gloo, min(gloo, self.network)))

    def rough_speed(self, run: Workload) -> float:
        """As fast as the measured models of about this size, in FLOP/s."""
        if not (self.probing and self.measured):
            layout = choose_layout(run, self, sequences_of(run, self.devices)).layout
            speed = self.speed(run, layout).tokens_per_second
            if not self.probing:
                return speed
        sizes = sorted(self.measured)
        flops = [math.log(self.measured[size]) for size in sizes]
        return math.exp(np.interp(math.log(run.size.total), np.log(sizes), flops)) / run.flop_per_token

    def speed(self, run: Workload, layout: Layout) -> Speed:
        compiled = self.compiled
        if compiled is None:
            compiled = resolve_compile(run.runtime.compile, self.hardware, run.steps, run.flop)
        if not self.probing:
            return self._modelled(run, compiled, layout)
        found = probe(run, self.hardware, compiled, self.devices, layout.checkpointing, self.processes)
        found = self._with_exchange(run, layout, found)
        self.measured[run.size.total] = found.tokens_per_second * run.flop_per_token
        return found

    def _with_exchange(self, run: Workload, layout: Layout, alone: Speed) -> Speed:
        """Add the time in which the processes send, as if computation hid nothing of it."""
        if self.devices == 1:
            return alone
        seconds = self.exchange(run, layout).seconds
        if seconds is None:
            return Speed(alone.tokens_per_second, f"{alone.source}, their communication left out")
        together = run.tokens_per_step / (run.tokens_per_step / alone.tokens_per_second + seconds)
        source = f"{alone.source}, and a model of their communication"
        return Speed(together, source, alone.tokens_per_second / self.devices)

    def _modelled(self, run: Workload, compiled: bool, layout: Layout) -> Speed:
        """Return the speed without a measurement. Raises UserError for a device without a model."""
        if cluster := self._known():
            return NamedTarget(cluster).speed(run, layout)
        if self.hardware.device.type != "cpu":
            raise UserError(f"--no-probe: there is no model of {self.hardware.name}; leave it out to measure")
        flops = CPU_FLOPS[compiled] * self.hardware.threads * self.devices
        flops /= SLOWER_IN_FP32 if self.hardware.precision == "fp32" else 1
        how = f"a rough model of a CPU, not a measurement: {self.hardware.threads} threads, {self.hardware.precision}"
        return self._with_exchange(run, layout, Speed(flops / run.flop_per_token, how))

    def _known(self) -> Cluster | None:
        """Return this machine's GPUs, and those of the others, if the table has them."""
        if self.hardware.device.type != "cuda":
            return None
        device = find_by_driver_name(self.hardware.name)
        return Cluster(device, self.devices, self.hosts, self.network) if device else None


def local_target(run: Workload, probing: bool, network: float | None = None) -> LocalTarget:
    """Return this machine as a run would use it, with the others of `runtime.hosts`.

    Raises UserError for a device or precision that it does not have, and for a `network` without other machines.
    """
    from tinylm.train.setup.processes import resolve_processes

    hosts = _hosts(run.runtime)
    if network is not None and hosts == 1:
        raise UserError("--network: expected with several machines only, got one; set runtime.hosts, or add --device")
    processes = resolve_processes(run.model, run.train, run.runtime, run.vocab_size)
    hardware = resolve_hardware(run.runtime, run.train.precision, processes=processes)
    if hardware.device.type == "cuda":
        torch.cuda.init()
    return LocalTarget(hardware, processes, probing, hosts=hosts, network=network or NETWORK)


def _hosts(runtime: RuntimeParams) -> int:
    """Return the number of machines of the run. Raises UserError if only a Slurm job would tell, and there is none."""
    if runtime.launcher != "slurm" or runtime.hosts:
        return runtime.hosts or 1
    nodes = os.environ.get("SLURM_JOB_NUM_NODES")
    if not nodes:
        raise UserError("runtime.hosts: null takes all nodes of a Slurm job, and this is none; set it, or use --device")
    return int(nodes)
