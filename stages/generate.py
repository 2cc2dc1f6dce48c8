"""Stage generate: stories of the final model, of its milestones beside it, and what they are worth."""

from pathlib import Path

from tinylm.device import resolve_hardware
from tinylm.memory import explaining_out_of_memory
from tinylm.params import Params
from tinylm.params.generate import GenerateParams
from tinylm.params.runtime import RuntimeParams
from tinylm.stage import log, run
from tinylm.story_files import write_all
from tinylm.story_run import Inputs, write_and_judge


def main(params: Params) -> None:
    p, runtime = params[GenerateParams], params[RuntimeParams]
    hardware = resolve_hardware(runtime, p.precision)
    with explaining_out_of_memory(hardware.device, "lower generate.judged_stories or generate.stories_per_prompt"):
        written = write_and_judge(p, hardware, runtime.compile, Inputs())
    write_all(written, Path())
    log.info("%d stories in artifacts/stories/stories.md", len(written.stories))
    log.info("%d along the training in artifacts/stories/progress.md", len(written.progress))
    log.info("a sheet for your marks: artifacts/stories/ratings.csv")


if __name__ == "__main__":
    run(main)
