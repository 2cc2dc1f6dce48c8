"""A folder that mlx_lm loads (https://github.com/ml-explore/mlx-lm), in float32, float16 or bfloat16.

It is a model folder of ours with two differences: the tokenizer puts <|endoftext|> before a prompt, as in training, and
GPT-2 has the names of its first release. Transformers and this package load it, too.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, processors

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.export.source import Source
from tinylm.model.folder import CONFIG, save_tokenizer
from tinylm.model.huggingface import to_config
from tinylm.model.weight_files import WEIGHTS
from tinylm.model.weight_names import Weights, to_hf
from tinylm.tokenizer.loading import END_OF_TEXT

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TOKENIZER = "tokenizer.json"


def write(source: Source, type_: str, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer's files.

    Raises UserError if mlx_lm computes another model, or if a weight is too large for the type.
    """
    p = source.params
    config = to_config(p, source.vocab_size, source.end_of_text)
    config["dtype"] = str(DTYPES[type_]).removeprefix("torch.")
    if p.architecture == "gpt2":
        _check_gpt2(source)
        config["n_ctx"] = p.context  # mlx_lm needs it, although n_positions says the same
    content = save(_weights(source, type_), {"format": "mlx"})
    atomic.write_json(folder / CONFIG, config)
    with atomic.replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)
    atomic.write_text(folder / TOKENIZER, _with_prefix(source.tokenizer, source.end_of_text).to_str())
    save_tokenizer(folder, folder / TOKENIZER, source.end_of_text, p.context)


def _check_gpt2(source: Source) -> None:
    """Raise UserError unless mlx_lm's GPT-2, which has only what OpenAI's models have, computes this one."""
    for name, expected in {"tie_embeddings": True, "mlp_width": 4 * source.params.width}.items():
        if (got := getattr(source.params, name)) != expected:
            value = str(expected).lower()
            raise UserError(
                f"{source.folder}: expected model.{name} = {value}, the only one that mlx_lm computes for gpt2, got "
                f"{str(got).lower()}; train a model with `dvc exp run --set-param model.{name}={value}`"
            )


def _weights(source: Source, type_: str) -> Weights:
    weights = {}
    for name, weight in to_hf(source.weights, source.params).items():
        stored = weight.to(DTYPES[type_])
        if not stored.isfinite().all():
            raise UserError(
                f"{source.folder}: {name}: expected weights that {type_} can hold, got {weight.abs().max():g}; "
                "export with --type f32"
            )
        weights[name.removeprefix("transformer.")] = stored  # in GPT-2; mlx_lm's own prefix is another
    return weights


def _with_prefix(tokenizer: Tokenizer, end_of_text: int) -> Tokenizer:
    """Return a copy that puts <|endoftext|> before each text."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, end_of_text)]
    )
    return copy
