"""`runtime`: parameters that change results only within floating-point tolerance, or not at all.

No stage lists them among its `params` in dvc.yaml, so changing them reruns nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import Endpoint, Prompt, Steps
from tinylm.base.params import Section

Threads = Annotated[int, Field(gt=0, le=256)]
Processes = Annotated[int, Field(gt=0, le=128)]
WorkerCount = Annotated[int, Field(gt=0, le=100_000)]
Hosts = Annotated[int, Field(gt=1, le=100_000)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000)]


class RuntimeParams(Section):
    name: ClassVar[str] = "runtime"

    device: Literal["auto", "cuda", "mps", "cpu"]  # auto: the first of these that is available
    threads: Threads | None  # CPU threads for torch; null: OMP_NUM_THREADS, or all usable cores
    processes: Processes | None  # training processes on each machine; null: one per GPU, if that is faster
    launcher: Literal["none", "torchrun", "slurm"]  # who starts them: this machine alone, or several machines
    hosts: Hosts | None  # machines that train together; null: all nodes of the Slurm job
    rendezvous: Endpoint | None  # where the machines meet, an address of the one that leads (torchrun)
    rejoin_seconds: Seconds  # how long the run waits for a machine that was lost (torchrun)
    parallel: Literal["auto", "ddp", "fsdp"]  # auto: ddp where a step fits into the memory of each device, else fsdp
    activation_checkpointing: Literal["auto"] | bool  # compute blocks twice to save memory; auto: if needed to fit
    engine: Literal["processes", "ray"]  # what runs the workers: processes of this machine, or a Ray cluster
    workers: WorkerCount | None  # how many read, count and encode stories; null: one per core
    compile: Literal["auto"] | bool  # torch.compile in training; auto: if it saves more time than it takes
    progress: bool  # progress bars on the terminal
    resume_minutes: Annotated[float, Field(gt=0, le=100_000)]  # longest time between resume checkpoints
    resume_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None  # most for all resume checkpoints; null: no limit
    tensorboard: bool  # log the run's curves to runs/ for TensorBoard
    wandb: Literal["disabled", "offline", "online"]  # Weights & Biases
    sample_every: Steps | None  # steps between live samples on the terminal; null: none
    sample_prompt: Prompt  # prompt of the live samples

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        launcher = good.get("launcher")
        if launcher == "torchrun" and good.get("hosts", 2) is None:
            yield "hosts", "expected the number of machines with runtime.launcher: torchrun, got null"
        if launcher == "torchrun" and good.get("rendezvous", "") is None:
            yield "rendezvous", "expected HOST:PORT with runtime.launcher: torchrun, got null"
        if launcher == "none" and good.get("hosts") is not None:
            yield "hosts", f"expected null with runtime.launcher: none, got {good['hosts']}"
