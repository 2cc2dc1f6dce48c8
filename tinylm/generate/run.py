"""All that a trained model writes: stories for people to read, stories to be judged, and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware, resolve_compile_writing
from tinylm.generate.judging import HumanStory, StoryGenerator, human_stories, judge_all, judge_endings
from tinylm.generate.metrics.lexical import Figures
from tinylm.generate.params import GenerateParams
from tinylm.generate.stories import Story
from tinylm.generate.token_probabilities import ReadToken, read_story
from tinylm.model.folder import list_checkpoints, load_model, trained_steps
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import load_tokenizer

FLOP_PER_WEIGHT = 2  # a multiplication and an addition for each token
RATED = 8  # stories of each source on the sheet for people
ENDINGS = 2  # sets of them: of training and of held-out stories


@dataclass(frozen=True)
class Inputs:
    """What the stories come from; the defaults are the stage's deps."""

    model: Path = Path("artifacts/model")
    checkpoints: Path = Path("artifacts/checkpoints")
    corpus: Path = Path("artifacts/corpus")


@dataclass(frozen=True)
class StoryRun:
    """Stories and figures. The main temperature comes first; steps rise."""

    stories: list[Story]  # the prompts', of the final model at all temperatures
    progress: list[Story]  # the prompts', of each checkpoint at the main temperature
    judged: dict[float, list[Story]]  # by temperature: how the final model goes on from people's beginnings
    rated: dict[str, list[str]]  # by source, for people's marks, at the main temperature
    people: list[HumanStory]
    figures: dict[float, Figures]  # by temperature
    step_figures: dict[int, Figures]  # by checkpoint, at the temperature for that
    human_figures: Figures
    read: list[tuple[Story, list[ReadToken]]]  # the first story of each prompt, token by token

    def metrics(self) -> dict[str, object]:
        main = next(iter(self.judged))
        told = self.judged[main]
        return {
            **self.figures[main],
            "mean_log_probability": fmean(story.mean_log_probability for story in told),
            "stories": len(told),
            "human": self.human_figures,
        }


def write_and_judge(p: GenerateParams, hardware: Hardware, compile_asked: bool | str, inputs: Inputs) -> StoryRun:
    """Write and judge everything. Raises UserError for a prompt that is too long, and where no story can be begun."""
    temperatures = list(dict.fromkeys([p.temperature, *p.other_temperatures]))
    tokenizer = load_tokenizer(inputs.model / "tokenizer.json")
    final = _final(p, hardware, compile_asked, inputs, tokenizer)
    # One limit for the model and for people: a text too short for model.context has shortened the model's.
    longest = min(p.max_tokens, final.model.params.context - 1)
    sampling = Sampling(p.temperature, p.top_k, p.top_p, longest, p.seed)
    people = human_stories(inputs.corpus / "val.parquet", tokenizer, sampling, p.judged_stories, p.judged_words)
    if not people:
        raise UserError(f"generate.judged_words: no held-out story goes on after its first {p.judged_words} words")
    beginnings = [story.beginning for story in people]
    stories, judged = [], {}
    for temperature in temperatures:
        at = replace(sampling, temperature=temperature)
        stories += final.write(p.prompts, at, p.stories_per_prompt)
        judged[temperature] = final.write(beginnings, at)
    rated = {f"model, step {final.step}": [story.text for story in judged[p.temperature][:RATED]]}
    progress, judged_steps = [], {}
    for step, folder in list_checkpoints(inputs.checkpoints) if p.checkpoints else []:
        generator = StoryGenerator(load_model(folder, hardware.dtype, hardware.device), tokenizer, step)
        progress += generator.write(p.prompts, sampling)
        judged_steps[step] = generator.write(beginnings, replace(sampling, temperature=p.judged_temperature))
        if 0 < step < final.step and len(rated) == 1:
            rated[f"model, step {step}"] = [story.text for story in generator.write(beginnings[:RATED], sampling)]
    rated["people"] = [story.text for story in people[:RATED]]
    groups: list[Sequence[Story | HumanStory]] = [people, *judged.values(), *judged_steps.values()]
    human, *figures = judge_all(groups, inputs.corpus / "train.parquet")
    figures[0] |= judge_endings(final, inputs.corpus, sampling, p.judged_stories)
    first = [next(story for story in stories if story.prompt == prompt) for prompt in dict.fromkeys(p.prompts)]
    return StoryRun(
        stories=stories,
        progress=progress,
        judged=judged,
        rated=rated,
        people=people,
        figures=dict(zip(temperatures, figures, strict=False)),
        step_figures=dict(zip(judged_steps, figures[len(temperatures) :], strict=True)),
        human_figures=human,
        read=[(story, read_story(final.model, tokenizer, story)) for story in first],
    )


def _final(
    p: GenerateParams, hardware: Hardware, compile_asked: bool | str, inputs: Inputs, tokenizer: Tokenizer
) -> StoryGenerator:
    model = load_model(inputs.model, hardware.dtype, hardware.device)
    at_each = len(p.prompts) * p.stories_per_prompt + p.judged_stories
    tokens = p.max_tokens * (at_each * (1 + len(p.other_temperatures)) + ENDINGS * p.judged_stories)
    flop = FLOP_PER_WEIGHT * model.size().parameters * tokens
    compiled = resolve_compile_writing(compile_asked, hardware, flop)
    return StoryGenerator(model, tokenizer, trained_steps(inputs.model), compiled)
