"""Stage generate: stories of the final model, of its checkpoints beside it, and what they are worth."""

from pathlib import Path

from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, run
from tinylm.compute.device import resolve_hardware
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.generate.outputs import write_all
from tinylm.generate.params import GenerateParams
from tinylm.generate.run import Inputs, write_and_judge


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
