"""Save and load models as Hugging Face folders, without pickle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors.torch import save

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.reading import read_as, read_object
from tinylm.model import huggingface
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.model.weight_files import WEIGHTS, read_weights
from tinylm.model.weight_names import Weights, from_hf, to_hf
from tinylm.tokenizer.loading import END_OF_TEXT

CONFIG, TRAINING = "config.json", "training.json"
REMEDY = "run dvc repro, or dvc pull on a new machine"


@dataclass(frozen=True)
class Training:
    """The part of `training.json` that other stages read."""

    step: Annotated[int, Field(ge=0)]


def save_weights(folder: Path, weights: Weights, p: ModelParams, vocab_size: int, end_of_text: int) -> None:
    """Write config.json and model.safetensors (float32), which `AutoModelForCausalLM.from_pretrained` loads."""
    atomic.write_json(folder / CONFIG, huggingface.to_config(p, vocab_size, end_of_text))
    tensors = {name: weight.cpu() for name, weight in to_hf(weights, p).items()}
    content = save(tensors, {"format": "pt"})  # a single key: safetensors writes several in random order
    with atomic.replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)  # safetensors.save_file would hide the OSError of a full disk


def save_tokenizer(folder: Path, tokenizer_file: Path, end_of_text: int, context: int) -> None:
    """Write the tokenizer and generation config, for `AutoTokenizer` and `generate` of transformers."""
    atomic.write_text(folder / "tokenizer.json", tokenizer_file.read_text(encoding="utf-8"))
    atomic.write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,  # prompts of several lengths, as one batch
            "padding_side": "left",
            "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 would add token_type_ids
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
        },
    )
    atomic.write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": end_of_text,
            "eos_token_id": end_of_text,
            "pad_token_id": end_of_text,
            "max_length": context,
        },
    )


def load_model(folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Transformer:
    """Load a folder written by `save_weights` or by `transformers`, in eval mode, weights and arithmetic in `dtype`.

    Raises UserError if a file is missing or damaged, or if the architecture is not supported.
    """
    p, vocab_size, weights = read_model(folder)
    model = Transformer(p, vocab_size, dtype)
    model.load_state_dict(weights)
    return model.to(device, dtype).eval()


def read_config(folder: Path) -> tuple[ModelParams, int]:
    """Return (parameters, vocabulary size) of a model folder. Raises UserError as `huggingface.from_config` does."""
    return huggingface.from_config(read_object(folder / CONFIG, REMEDY), str(folder / CONFIG))


def read_model(folder: Path) -> tuple[ModelParams, int, Weights]:
    """Return (parameters, vocabulary size, weights under our names) of a model folder.

    Raises UserError as `load_model` does.
    """
    p, vocab_size = read_config(folder)
    heads = huggingface.key_value_heads(read_object(folder / CONFIG, REMEDY), p)
    weights = from_hf(read_weights(folder, REMEDY), p, heads)
    _check_weights(folder, weights, p, vocab_size)
    return p, vocab_size, weights


def _check_weights(folder: Path, weights: Weights, p: ModelParams, vocab_size: int) -> None:
    """Raise UserError if the weights do not match config.json, before allocating memory for its sizes."""
    if p.layers > len(weights):
        found = f"{len(weights)} tensors for {p.layers} layers"
    else:
        with torch.device("meta"):
            expected = {name: list(tensor.shape) for name, tensor in Transformer(p, vocab_size).state_dict().items()}
        got = {name: list(tensor.shape) for name, tensor in weights.items()}
        wrong = next((name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)), None)
        if wrong is None:
            return
        found = f"{wrong}: expected shape {expected.get(wrong)}, got {got.get(wrong)}"
    raise UserError(f"{folder}: weights and config.json do not fit ({found}); {REMEDY}")


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of each checkpoint, ordered by step."""
    return sorted((int(path.name.removeprefix("step_")), path) for path in folder.glob("step_*"))


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step`; `folder` holds all checkpoints."""
    return folder / f"step_{step:06d}"


def trained_steps(folder: Path) -> int:
    """Return the training step that the weights of a model folder come from."""
    return read_as(Training, folder / TRAINING, REMEDY).step
