"""Stage train: token files to a model, its milestones and its loss curve."""

from tinylm.params import Params
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.params.train import TrainParams
from tinylm.stage import run
from tinylm.train_run import Folders, run_training


def main(params: Params) -> None:
    run_training(params[ModelParams], params[TrainParams], params[RuntimeParams], Folders())


if __name__ == "__main__":
    run(main)
