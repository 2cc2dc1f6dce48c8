"""Stage train: token files to a model, its milestones and its loss curve; goes on where a killed run was."""

import os
from pathlib import Path

from tinylm.distributed import started_by_launcher
from tinylm.launch import launch
from tinylm.params import Params
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.params.train import TrainParams
from tinylm.processes import resolve_processes
from tinylm.run_key import run_key
from tinylm.stage import original_root, run
from tinylm.stopping import stop_with_parent
from tinylm.tokens import vocabulary_size
from tinylm.train_run import Folders, run_training


def main(params: Params) -> None:
    stop_with_parent()
    model, p, runtime = params[ModelParams], params[TrainParams], params[RuntimeParams]
    entries = vocabulary_size(Folders.tokens)
    processes = 1 if started_by_launcher() else resolve_processes(model, p, runtime, entries)
    if processes > 1:
        launch("stages.train", processes)
        return
    root = original_root()  # DVC removes a temporary copy of it when the run ends
    states = Path(os.environ.get("TINYLM_RESUME") or root / ".resume")
    folders = Folders(states=states / f"train-{run_key('train')}", trackers=root)
    run_training(model, p, runtime, folders)


if __name__ == "__main__":
    run(main)
