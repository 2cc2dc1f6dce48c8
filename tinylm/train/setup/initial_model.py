"""Training that starts from the weights of a model folder (`train.init_from`) and not from random ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError, quote_path
from tinylm.base.mistakes import got_value
from tinylm.base.reading import check_file
from tinylm.model.folder import CONFIG, read_config, read_model
from tinylm.model.own_tokenizer import REMEDY, tokenizer_file
from tinylm.model.transformer import Transformer
from tinylm.model.weight_files import has_weights
from tinylm.model.weight_names import Weights
from tinylm.tokenizer.comparison import difference
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.loading import END_OF_TEXT, end_of_text_id, load_tokenizer


def conflicts(folder: Path, model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (section and key, message) for each value of the section `model` that is not that of the folder.

    Reads config.json alone, so that each stage can check it before any work. `dropout` has no weights and is free;
    `context` may be shorter; a missing `qkv_bias` is checked by `load_initial`.
    """
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        yield "train.init_from", f"expected a model folder ({CONFIG} and weights), got {quote_path(folder)}"
        return
    try:
        theirs, _ = read_config(folder)
    except UserError as error:
        yield "train.init_from", str(error)
        return
    free = {"dropout", *(["context"] if model["context"] <= theirs.context else [])}
    if theirs.architecture == model["architecture"] == "gpt2" and not model["qkv_bias"]:
        free.add("qkv_bias")
    for key, value in theirs.model_dump().items():
        if key not in free and model[key] != value:
            least = "at most " if key == "context" else ""
            found = f"expected {least}{got_value(value)}, as train.init_from has, got {got_value(model[key])}"
            yield f"model.{key}", f"{found}; set -S model.{key}={value if isinstance(value, str) else got_value(value)}"


def check_tokenizer(folder: Path, tokenizer_path: Path) -> None:
    """Raise UserError unless the tokenizer of this run gives the ids that the model of the folder was trained on."""
    ours, path = load_tokenizer(tokenizer_path), tokenizer_file(folder)
    check_file(path, REMEDY)
    theirs, end = load_tokenizer(path), end_of_text_id(ours)
    remedy = f"-S train_tokenizer.kind=file -S train_tokenizer.path={quote_path(path)}"
    if theirs.token_to_id(END_OF_TEXT) is None:
        remedy += " -S train_tokenizer.end_of_text=TOKEN (the one that ends a story)"
    own = theirs.id_to_token(end)
    if own is None or theirs.token_to_id(END_OF_TEXT) not in (None, end):
        found: str | None = f"another end-of-text id than {end}"
    else:
        found = difference(ours, with_end_of_text(theirs, own))
    if found:
        raise UserError(f"train.init_from: another tokenizer than this run ({found}); take the model's own: {remedy}")


def initial_vocabulary(folder: Path, entries: int) -> int:
    """Return the rows of the folder's embedding. Raises UserError if these are fewer than the tokenizer's `entries`."""
    _, rows = read_config(folder)
    if rows < entries:
        raise UserError(
            f"train.init_from: expected a vocabulary of at least the tokenizer's {entries} entries, got {rows} in "
            f"{quote_path(folder)}; use a model whose weights fit its tokenizer"
        )
    return rows


def load_initial(model: Transformer, folder: Path) -> None:
    """Copy the weights of the folder into `model`. Raises UserError as `initial_weights` does."""
    model.load_state_dict(initial_weights(model, folder))


def initial_weights(model: Transformer, folder: Path) -> Weights:
    """The weights of the folder, for `model`, whose context may be shorter than that of the folder.

    Raises UserError if a weight is not finite, or if the model has no place for the biases of the folder.
    """
    _, _, weights = read_model(folder)
    if model.positions is not None:
        weights["positions.weight"] = weights["positions.weight"][: model.params.context]
        if not model.params.qkv_bias:
            weights = _without_zero_biases(weights)
    for name, _ in model.named_parameters():
        if not weights[name].isfinite().all():
            raise UserError(f"train.init_from: {quote_path(folder)}: {name} is not finite; use another model")
    return weights


def _without_zero_biases(weights: Weights) -> Weights:
    """Leave out the biases of queries, keys and values, which GPT-2's layout has even where a model has none."""
    biases = [name for name in weights if name.endswith(("query.bias", "key.bias", "value.bias"))]
    if any(weights[name].any() for name in biases):
        raise UserError("model.qkv_bias: expected true, as train.init_from has, got false; set -S model.qkv_bias=true")
    return {name: weight for name, weight in weights.items() if name not in biases}
