"""Models on the disk, as Hugging Face folders. No file is a pickle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import safetensors
import torch
from pydantic import Field
from safetensors.torch import load_file, save

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.reading import check_file, read_as, read_object
from tinylm.model import huggingface
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.tokenizer.loading import END_OF_TEXT

WEIGHTS, CONFIG, TRAINING = "model.safetensors", "config.json", "training.json"
REMEDY = "run dvc repro, or dvc pull on a new machine"


@dataclass(frozen=True)
class Training:
    """Of `training.json`, what other stages ask for."""

    step: Annotated[int, Field(ge=0)]


def save_weights(folder: Path, weights: huggingface.Weights, p: ModelParams, vocab_size: int, end_of_text: int) -> None:
    """Write config.json and model.safetensors (float32): what `AutoModelForCausalLM.from_pretrained` needs."""
    atomic.write_json(folder / CONFIG, huggingface.to_config(p, vocab_size, end_of_text))
    tensors = {name: weight.cpu() for name, weight in huggingface.to_hf(weights, p).items()}
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
    p, vocab_size = huggingface.from_config(read_object(folder / CONFIG, REMEDY), str(folder / CONFIG))
    check_file(folder / WEIGHTS, REMEDY)
    try:
        weights = huggingface.from_hf(load_file(folder / WEIGHTS), p)
    except safetensors.SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: torn or no safetensors file ({error}); run dvc checkout") from None
    _check_weights(folder, weights, p, vocab_size)
    model = Transformer(p, vocab_size, dtype)
    model.load_state_dict(weights)
    return model.to(device, dtype).eval()


def _check_weights(folder: Path, weights: huggingface.Weights, p: ModelParams, vocab_size: int) -> None:
    """Raise UserError where the weights are not those of config.json, before its sizes take memory."""
    if p.layers > len(weights):
        found = f"{len(weights)} tensors for {p.layers} layers"
    else:
        with torch.device("meta"):
            expected = {name: list(tensor.shape) for name, tensor in Transformer(p, vocab_size).state_dict().items()}
        got = {name: list(tensor.shape) for name, tensor in weights.items()}
        wrong = next((name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)), None)
        if wrong is None:
            return
        found = f"{wrong}: expected the shape {expected.get(wrong)}, got {got.get(wrong)}"
    raise UserError(f"{folder}: weights and config.json do not fit ({found}); {REMEDY}")


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of each checkpoint, in the order of the steps."""
    return sorted((int(path.name.removeprefix("step_")), path) for path in folder.glob("step_*"))


def checkpoint_folder(folder: Path, step: int) -> Path:
    return folder / f"step_{step:06d}"


def trained_steps(folder: Path) -> int:
    """Steps after which the weights of a trained model folder were taken."""
    return read_as(Training, folder / TRAINING, REMEDY).step
