"""`runtime`: what may change a result only within floating-point tolerance, or not at all.

No stage lists these among its `params`, so that changing them reruns nothing.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import Prompt, Steps
from tinylm.base.params import Section

Threads = Annotated[int, Field(gt=0, le=256)]
Processes = Annotated[int, Field(gt=0, le=128)]


class RuntimeParams(Section):
    name: ClassVar[str] = "runtime"

    device: Literal["auto", "cuda", "mps", "cpu"]  # auto: the first of these that is there
    threads: Threads | None  # CPU threads of torch; null: OMP_NUM_THREADS, or all cores it may use
    processes: Processes | None  # that train together; null: one for each GPU, as far as it pays
    workers: Processes | None  # processes that pretokenize; null: one for each core, at most 8
    compile: Literal["auto"] | bool  # torch.compile; auto: where it pays within the run
    progress: bool  # progress bars on the terminal
    resume_minutes: Annotated[float, Field(gt=0, le=100_000)]  # longest time between states to resume from
    resume_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None  # most that states of all runs take; null: no limit
    tensorboard: bool  # write the run's curves to runs/ for TensorBoard
    wandb: Literal["disabled", "offline", "online"]  # Weights & Biases
    sample_every: Steps | None  # steps between live samples on the terminal; null: none
    sample_prompt: Prompt  # what live samples begin with
