"""Stage train: train a model on the token files, with checkpoints and a loss curve; resume an interrupted run."""

import os
from pathlib import Path

from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import original_root, run
from tinylm.compute.distributed import started_by_launcher
from tinylm.compute.launching.hosts import launch_on_hosts
from tinylm.compute.launching.processes import launch
from tinylm.compute.launching.slurm import launch_by_slurm
from tinylm.compute.signals import stop_with_parent
from tinylm.model.params import ModelParams
from tinylm.tokens.store import check_tokens, vocabulary_size
from tinylm.train.outputs import Folders
from tinylm.train.params import TrainParams
from tinylm.train.resume.run_key import run_key
from tinylm.train.run import run_training
from tinylm.train.setup.processes import resolve_processes


def main(params: Params) -> None:
    stop_with_parent()
    model, p, runtime = params[ModelParams], params[TrainParams], params[RuntimeParams]
    if not started_by_launcher() and start_processes(model, p, runtime):
        return
    root = original_root()  # not a temporary copy of it, which DVC removes when the run ends
    resume = Path(os.environ.get("TINYLM_RESUME") or root / ".resume")
    folders = Folders(resume=resume / f"train-{run_key('train')}", trackers=root)
    run_training(model, p, runtime, folders)


def start_processes(model: ModelParams, p: TrainParams, runtime: RuntimeParams) -> bool:
    """Run this stage in the processes that train together, if these are several; return whether they are."""
    processes = resolve_processes(model, p, runtime, vocabulary_size(Folders.tokens))
    if runtime.launcher == "none" and processes == 1:
        return False
    check_tokens(Folders.tokens)  # so that the processes need not read the files
    if runtime.launcher == "torchrun":
        launch_on_hosts("stages.train", processes, runtime)
    elif runtime.launcher == "slurm":
        launch_by_slurm("stages.train", processes, runtime.hosts)
    else:
        launch("stages.train", processes)
    return True


if __name__ == "__main__":
    run(main, Path("metrics/speed.json"))
