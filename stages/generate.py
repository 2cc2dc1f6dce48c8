"""Stage generate: stories of the final model and of the checkpoints, and metrics of these stories."""

from pathlib import Path

from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, run
from tinylm.compute.device import resolve_hardware_for_writing
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.generate.outputs import write_all
from tinylm.generate.params import GenerateParams
from tinylm.generate.run import Inputs, generate_and_judge


def main(params: Params) -> None:
    p, runtime = params[GenerateParams], params[RuntimeParams]
    hardware = resolve_hardware_for_writing(runtime, p.precision)
    with explaining_out_of_memory(hardware.device, "lower generate.judged_stories or generate.stories_per_prompt"):
        story_run = generate_and_judge(p, hardware, Inputs())
    write_all(story_run, Path())
    log.info("%d stories of the final model in artifacts/stories/stories.md", len(story_run.stories))
    log.info("%d stories of the checkpoints in artifacts/stories/progress.md", len(story_run.progress))
    log.info("rating sheet to fill in: artifacts/stories/ratings.csv")


if __name__ == "__main__":
    run(main)
