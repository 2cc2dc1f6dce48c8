"""Stage generate: stories of the final model, and of its milestones beside it."""

from pathlib import Path

from tinylm import atomic
from tinylm.checkpoint import list_milestones, load_model, trained_steps
from tinylm.device import resolve_compile_writing, resolve_hardware
from tinylm.generation import Sampling
from tinylm.params import Params
from tinylm.params.generate import GenerateParams
from tinylm.params.runtime import RuntimeParams
from tinylm.stage import log, run
from tinylm.stories import summarize, tell_stories
from tinylm.story_files import write_jsonl, write_progress, write_stories
from tinylm.tokenizer import load_tokenizer

FLOP_PER_WEIGHT = 2  # a multiplication and an addition for each token


def main(params: Params) -> None:
    p, runtime = params[GenerateParams], params[RuntimeParams]
    hardware = resolve_hardware(runtime, p.precision)
    device = hardware.device
    sampling = Sampling(p.temperature, p.top_k, p.top_p, p.max_tokens, p.seed)
    final, out = Path("artifacts/model"), Path("artifacts/stories")
    tokenizer = load_tokenizer(final / "tokenizer.json")
    model = load_model(final, hardware.dtype, device)
    flop = FLOP_PER_WEIGHT * model.size().parameters * p.max_tokens * len(p.prompts) * p.stories_per_prompt
    compiled = resolve_compile_writing(runtime.compile, hardware, flop)
    stories = tell_stories(model, tokenizer, trained_steps(final), p.prompts, p.stories_per_prompt, sampling, compiled)
    progress = []
    for step, folder in list_milestones(Path("artifacts/checkpoints")) if p.milestones else []:
        progress += tell_stories(load_model(folder, hardware.dtype, device), tokenizer, step, p.prompts, 1, sampling)
    write_jsonl(out / "stories.jsonl", stories)
    write_jsonl(out / "progress.jsonl", progress)
    write_stories(out / "stories.md", stories)
    write_progress(out / "progress.md", progress)
    atomic.write_json("metrics/generate.json", summarize(stories))
    log.info(
        "%d stories in %s, %d along the training in %s",
        len(stories),
        out / "stories.md",
        len(progress),
        out / "progress.md",
    )


if __name__ == "__main__":
    run(main)
