"""The model card of a finished run, with its score and its stories; `tinylm push` sends it with the model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinylm.model.card import LOADING, SHARED, compose, describe, escape, size, table
from tinylm.report.inputs import RunFiles
from tinylm.report.metrics import METRICS
from tinylm.report.numbers import is_number, number, rounded
from tinylm.report.provenance import Text, text_of

STORIES_SHOWN = 3
MOST_DIGITS = 6  # after the decimal point of a value in the front matter


def build_card(run: RunFiles, weights_sha256: str) -> str:
    """Return README.md: the same bytes for the same run. The checksum says which weights it describes."""
    text, title = text_of(run.download), f"tinylm-{size(run.train['parameters'])}"
    about = (
        f"A language model with {rounded(run.train['parameters'])} parameters, which writes short stories. It was "
        f"trained on {text.description} with tinylm, which has written this card from the run."
    )
    files = (
        f"`model.safetensors` has the SHA-256 `{weights_sha256}`. `training.json` has all parameters of the training, "
        "the checksums of its data and the versions of its software."
    )
    sections = {
        "Stories": _stories(run.stories),
        "Score": _score(run),
        "Training": _training(run),
        "Limits": _limits(text, run),
        "Licence": text.licence,
        "Files": files,
    }
    return compose(
        {**SHARED, **text.front_matter, "model-index": _model_index(title, text, run.evaluate)},
        [f"# {title}", about, LOADING, *(f"## {name}\n\n{section}" for name, section in sections.items())],
    )


def _model_index(name: str, text: Text, score: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the score as the Hub reads it; a metric that the run has not is left out."""
    metrics = [
        {
            "type": metric.key,
            "name": f"{metric.name} ({_interval(score, metric.key) or metric.unit})",
            "value": round(score[metric.key], MOST_DIGITS),
        }
        for metric in METRICS
        if is_number(score.get(metric.key))
    ]
    task = {"type": "text-generation", "name": "Text generation"}
    return [{"name": name, "results": [{"task": task, "dataset": dict(text.dataset), "metrics": metrics}]}]


def _interval(score: Mapping[str, Any], key: str) -> str:
    """Return the 95% interval of a metric in words; empty if it is not known."""
    intervals = score.get("range95") or {}
    found = intervals.get("loss" if key == "perplexity" else key)
    if not found:
        return ""
    low, high = (math.exp(found[end]) if key == "perplexity" else found[end] for end in ("low", "high"))
    return f"95%: {low:.4f} to {high:.4f}"


def _stories(stories: Sequence[Mapping[str, Any]]) -> str:
    """Return the first story of each of the first prompts, quoted, and how they were chosen."""
    firsts = {story["prompt"]: story for story in reversed(stories)}
    shown = [firsts[prompt] for prompt in dict.fromkeys(story["prompt"] for story in stories)][:STORIES_SHOWN]
    if not shown:
        return "The run has written none."
    how = f"The first story for each of {len(shown)} prompts, at temperature {shown[0]['temperature']:g}, unselected."
    return "\n\n".join([how, *map(_quote, shown)])


def _quote(story: Mapping[str, Any]) -> str:
    text = story["text"] if story["ended"] else f"{story['text']} [...]"
    return "\n".join(f"> {escape(line)}".rstrip() + "  " for line in text.splitlines())


def _score(run: RunFiles) -> str:
    score, split = run.evaluate, run.evaluate["split"]
    rows = ["| metric | value | 95% interval | unit |", "| --- | --- | --- | --- |"]
    for metric in METRICS:
        if is_number(value := score.get(metric.key)):
            interval = _interval(score, metric.key).removeprefix("95%: ") or "not known"
            rows.append(f"| {metric.name} | {value:.4f} | {interval} | {metric.unit} |")
    caveats = (
        f"On all {number(split['stories'])} held-out stories ({number(split['tokens'])} tokens, "
        f"{number(split['text_bytes'])} bytes). The intervals are over such stories; another seed of the training may "
        f"give another score. The weights were chosen by their loss on {number(run.train['val_stories'])} of these "
        "stories, which flatters the score."
    )
    if not is_number(score.get("bits_per_byte")):
        caveats += " There are no bits per byte, because the tokenizer does not reproduce every story."
    return "\n".join([*rows, "", caveats])


def _training(run: RunFiles) -> str:
    train, tokens = run.train, run.pretokenize["train"]
    return table(
        describe(run.training["params"]["model"], train["parameters"], train["context"])
        | {
            "vocabulary": f"{number(run.train_tokenizer['vocab_size'])} ({run.train_tokenizer['kind']})",
            "text": f"{number(tokens['stories'])} stories, {rounded(tokens['tokens'])} tokens",
            "training": f"{number(train['steps'])} steps, {rounded(train['tokens'])} tokens",
            "epochs": f"{train['epochs']:.2f}",
            "weights": f"of step {number(train['best_step'])}, in float32",
            "hardware": f"{train['device']}, {train['precision']}",
            "software": ", ".join(f"{name} {version}" for name, version in run.training["versions"].items()),
        }
    )


def _limits(text: Text, run: RunFiles) -> str:
    context, copied = run.train["context"], run.generate.get("known_8grams")
    human = (run.generate.get("human") or {}).get("known_8grams")
    lines = [
        text.limit,
        f"It continues a text, of which it sees the last {number(context)} tokens; it follows no instructions.",
        "Whether it writes what is offensive, biased or harmful has not been measured.",
    ]
    if is_number(copied):
        beside = f" ({human:.0%} in held-out stories)" if is_number(human) else ""
        lines.append(f"It may repeat its training text: {copied:.0%} of its sequences of 8 words are from it{beside}.")
    return "\n".join(f"- {line}" for line in lines)
