"""All stories of the stage generate: those for the prompts, the judged ones, and the metrics of the latter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware
from tinylm.generate.judging import CutStory, HumanStory, cut_stories, human_stories, judge_all, judge_endings
from tinylm.generate.metrics.lexical import Metrics
from tinylm.generate.params import GenerateParams
from tinylm.generate.stories import Story, StoryGenerator, StorySet
from tinylm.generate.token_probabilities import ScoredToken, score_tokens
from tinylm.model.folder import list_checkpoints, load_model, trained_steps
from tinylm.model.inference import for_inference
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import load_tokenizer

RATED = 8  # stories of each source on the rating sheet
ENDINGS = ("train", "val")  # splits whose cut stories are completed


@dataclass(frozen=True)
class Inputs:
    """Input folders; the defaults are the deps of the stage."""

    model: Path = Path("artifacts/model")
    checkpoints: Path = Path("artifacts/checkpoints")
    corpus: Path = Path("artifacts/corpus")


@dataclass(frozen=True)
class StoryRun:
    """Stories and metrics. Temperatures start with generate.temperature (the main one); steps are ascending."""

    stories: list[Story]  # for the prompts, by the final model at all temperatures
    progress: list[Story]  # for the prompts, by each checkpoint at the main temperature
    judged: dict[float, list[Story]]  # by temperature: the final model's continuations of the human prompts
    rated: dict[str, list[str]]  # by source: stories for human ratings, at the main temperature
    human: list[HumanStory]
    metrics_by_temperature: dict[float, Metrics]  # of the final model
    metrics_by_step: dict[int, Metrics]  # of the checkpoints, at generate.judged_temperature
    human_metrics: Metrics
    scored: list[tuple[Story, list[ScoredToken]]]  # the first story of each prompt, token by token

    def metrics(self) -> dict[str, object]:
        """Return the contents of metrics/generate.json, at the main temperature."""
        main = next(iter(self.judged))
        stories = self.judged[main]
        return {
            **self.metrics_by_temperature[main],
            "mean_log_probability": fmean(story.mean_log_probability for story in stories),
            "stories": len(stories),
            "human": self.human_metrics,
        }


def generate_and_judge(p: GenerateParams, hardware: Hardware, inputs: Inputs) -> StoryRun:
    """Generate all stories and compute their metrics.

    Raises UserError if a prompt is too long, or if no held-out story can serve as a prompt.
    """
    tokenizer = load_tokenizer(inputs.model / "tokenizer.json")
    final = _load(inputs.model, trained_steps(inputs.model), tokenizer, hardware)
    # The same limit for generated and human stories. Training may have shortened the context to fit a small corpus.
    max_tokens = min(p.max_tokens, final.model.params.context - 1)
    sampling = Sampling(p.temperature, p.top_k, p.top_p, max_tokens, p.seed)
    human = human_stories(inputs.corpus / "val.parquet", tokenizer, sampling, p.judged_stories, p.judged_words)
    if not human:
        raise UserError(
            f"generate.judged_words: expected held-out stories of more than {p.judged_words} words, of which the first "
            f"{p.judged_words} take fewer than {max_tokens} tokens, found none; lower it"
        )
    prompts = [story.prompt for story in human]
    cuts = {
        split: cut_stories(inputs.corpus / f"{split}.parquet", tokenizer, p.judged_stories, max_tokens, p.seed)
        for split in ENDINGS
    }
    stories, judged, completed = _write_final(final, p, sampling, prompts, cuts)
    rated = {f"model, step {final.step}": [story.text for story in judged[p.temperature][:RATED]]}
    progress, judged_steps = [], {}
    for step, folder in list_checkpoints(inputs.checkpoints) if p.checkpoints else []:
        is_rated = 0 < step < final.step and len(rated) == 1
        shown, judged_steps[step], for_rating = _load(folder, step, tokenizer, hardware).generate(
            StorySet(p.prompts, sampling),
            StorySet(prompts, replace(sampling, temperature=p.judged_temperature)),
            StorySet(prompts[:RATED] if is_rated else [], sampling),
        )
        progress += shown
        if is_rated:
            rated[f"model, step {step}"] = [story.text for story in for_rating]
    rated["human"] = [story.text for story in human[:RATED]]
    groups: dict[tuple[str, float], Sequence[Story | HumanStory]] = {("human", 0): human}
    groups |= {("temperature", temperature): stories for temperature, stories in judged.items()}
    groups |= {("step", step): stories for step, stories in judged_steps.items()}
    metrics = judge_all(groups, inputs.corpus / "train.parquet")
    metrics["temperature", p.temperature] |= judge_endings(cuts, completed)
    first = [next(story for story in stories if story.prompt == prompt) for prompt in dict.fromkeys(p.prompts)]
    return StoryRun(
        stories=stories,
        progress=progress,
        judged=judged,
        rated=rated,
        human=human,
        metrics_by_temperature={temperature: metrics["temperature", temperature] for temperature in judged},
        metrics_by_step={step: metrics["step", step] for step in judged_steps},
        human_metrics=metrics["human", 0],
        scored=[(story, score_tokens(final.model, tokenizer, story)) for story in first],
    )


def _write_final(
    final: StoryGenerator,
    p: GenerateParams,
    sampling: Sampling,
    prompts: Sequence[str],
    cuts: Mapping[str, Sequence[CutStory]],
) -> tuple[list[Story], dict[float, list[Story]], dict[str, list[Story]]]:
    """Generate all stories of the final model together.

    Returns those for the prompts of the parameters, at all temperatures; the judged ones, continuing `prompts`, by
    temperature; and the completed cut stories by split.
    """
    temperatures = list(dict.fromkeys([p.temperature, *p.other_temperatures]))
    tempered = [replace(sampling, temperature=temperature) for temperature in temperatures]
    parts = iter(
        final.generate(
            *(StorySet(p.prompts, each, p.stories_per_prompt) for each in tempered),
            *(StorySet(prompts, each) for each in tempered),
            *(StorySet([cut.prompt for cut in of_split], sampling) for of_split in cuts.values()),
        )
    )
    stories = [story for _ in temperatures for story in next(parts)]
    return stories, {temperature: next(parts) for temperature in temperatures}, {split: next(parts) for split in cuts}


def _load(folder: Path, step: int, tokenizer: Tokenizer, hardware: Hardware) -> StoryGenerator:
    """Load the model of training step `step`."""
    model = for_inference(load_model(folder, hardware.dtype, hardware.device), together=True)
    return StoryGenerator(model, tokenizer, step)
