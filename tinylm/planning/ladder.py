"""The runs behind a scaling law: every size of model with every budget of tokens."""

import re
from typing import Any

from tinylm.base.errors import UserError, quote
from tinylm.base.params import Params
from tinylm.model.params import ModelParams
from tinylm.planning.fit import FEWEST_VALUES
from tinylm.planning.shapes import nearest
from tinylm.planning.workload import estimate_vocab_size
from tinylm.train.params import TrainParams
from tinylm.train_tokenizer.params import TrainTokenizerParams

UNITS = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9}
COUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([KMB]?)")
VALIDATIONS = 4  # in a run, besides the one before its first step

Settings = dict[str, str]  # by parameter, as DVC's -S has them


def parse_counts(option: str, text: str, fewest: int) -> dict[str, float]:
    """Parse "0.2M,1.3M" into counts by their words. Raises UserError for anything else, and for fewer than `fewest`."""
    counts: dict[str, float] = {}
    for word in (part.strip() for part in text.split(",")):
        match = COUNT.fullmatch(word)
        if not match or not float(match[1]):
            raise UserError(f"{option}: expected counts such as 0.5M,1.3M, got {quote(word)}")
        counts[word] = float(match[1]) * UNITS[match[2]]
    if len(set(counts.values())) < fewest or len(counts) < len(text.split(",")):
        raise UserError(f"{option}: expected at least {fewest} different counts, each once, got {quote(text)}")
    return dict(sorted(counts.items(), key=lambda item: item[1]))


def ladder(sizes: str, budgets: str, params: Params) -> dict[str, Settings]:
    """Return the settings of each run by "SIZE-BUDGET", the cheapest first.

    Depth and width grow together (shapes.py). The batch and the learning rates are those of `params`: Muon's rate
    carries over to other widths. Raises UserError for a size that no shape has, and a budget too small for a run.
    """
    base, vocab_size = params[ModelParams], estimate_vocab_size(params[TrainTokenizerParams])
    models = {
        word: nearest(base, vocab_size, size) for word, size in parse_counts("--sizes", sizes, FEWEST_VALUES).items()
    }
    if len({str(model) for model in models.values()}) < len(models):
        raise UserError(f"--sizes: two of {sizes} have the same shape; choose sizes that are further apart")
    runs = {}
    for word, tokens in parse_counts("--budgets", budgets, FEWEST_VALUES).items():
        steps = count_budget_steps(word, tokens, params)
        for size, model in models.items():
            runs[f"{size}-{word}"] = _settings(model, steps)
    return runs


def count_budget_steps(word: str, tokens: float, params: Params) -> int:
    """Return the steps of a budget. Raises UserError if they do not outlast the warm-up."""
    p = params[TrainParams]
    per_step = p.batch_size * params[ModelParams].context
    steps = round(tokens / per_step)
    if steps < max(VALIDATIONS, 2 * p.warmup_steps):
        raise UserError(
            f"--budgets: {word} is {steps} steps of {per_step:,} tokens, expected at least "
            f"{max(VALIDATIONS, 2 * p.warmup_steps)}, twice train.warmup_steps ({p.warmup_steps}); give more tokens, "
            "or lower train.batch_size or train.warmup_steps"
        )
    return steps


def _settings(model: dict[str, Any], steps: int) -> Settings:
    """Return what a run changes. The last validation is after the last step, where its learning rate is lowest."""
    train = {"steps": steps, "epochs": "null", "val_every": -(-steps // VALIDATIONS), "checkpoint_every": "null"}
    values = {f"model.{key}": value for key, value in model.items()}
    return {key: str(value) for key, value in (values | {f"train.{key}": v for key, v in train.items()}).items()}
