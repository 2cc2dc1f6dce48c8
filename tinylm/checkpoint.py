"""Models on the disk, as Hugging Face folders. No file is a pickle."""

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from tinylm import atomic, hf_format
from tinylm.errors import UserError
from tinylm.model import Transformer
from tinylm.params.model import ModelParams
from tinylm.tokenizer import END_OF_TEXT

WEIGHTS, CONFIG, TRAINING = "model.safetensors", "config.json", "training.json"


def save_weights(folder: Path, weights: hf_format.Weights, p: ModelParams, vocab_size: int, end_of_text: int) -> None:
    """Write config.json and model.safetensors (float32): what `AutoModelForCausalLM.from_pretrained` needs."""
    atomic.write_json(folder / CONFIG, hf_format.to_config(p, vocab_size, end_of_text))
    tensors = {name: weight.cpu() for name, weight in hf_format.to_hf(weights, p).items()}
    content = save(tensors, {"format": "pt"})  # one key: several would come in random order
    with atomic.replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)  # and not by safetensors, which has its own words for a full disk


def save_tokenizer(folder: Path, tokenizer_file: Path, end_of_text: int, context: int) -> None:
    """Write what `AutoTokenizer` and `generate` need beside the weights."""
    atomic.write_text(folder / "tokenizer.json", tokenizer_file.read_text(encoding="utf-8"))
    atomic.write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
        },
    )
    atomic.write_json(
        folder / "generation_config.json",
        {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "max_length": context},
    )


def load_model(folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Transformer:
    """A model for inference from a folder that `save_weights` wrote, its weights in `dtype`.

    Raises UserError where a file is missing, torn or of another architecture.
    """
    config = _read_json(folder / CONFIG)
    p, vocab_size = hf_format.from_config(config)
    try:
        weights = hf_format.from_hf(load_file(folder / WEIGHTS), p)
    except FileNotFoundError:
        raise UserError(f"{folder / WEIGHTS}: not found; run dvc repro, or dvc pull on a new machine") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: torn or no safetensors file ({error}); run dvc checkout") from None
    model = Transformer(p, vocab_size, dtype)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{folder}: weights and config.json do not fit: {error}") from None
    return model.to(device, dtype).eval()


def list_milestones(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of each milestone, in the order of the steps."""
    return sorted((int(path.name.removeprefix("step_")), path) for path in folder.glob("step_*"))


def milestone_folder(folder: Path, step: int) -> Path:
    return folder / f"step_{step:06d}"


def trained_steps(folder: Path) -> int:
    """Steps after which the weights of a trained model folder were taken."""
    return int(_read_json(folder / TRAINING)["step"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run dvc repro, or dvc pull on a new machine") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found
