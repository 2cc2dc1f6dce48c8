"""Read the weights of a model folder: one safetensors file, or several with an index. Never pickle."""

from pathlib import Path

import safetensors
import torch
from pydantic import ConfigDict
from safetensors.torch import load_file
from typing_extensions import TypedDict

from tinylm.base.errors import UserError, quote
from tinylm.base.reading import check_file, read_as
from tinylm.model.weight_names import BUFFERS, Weights

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Index(TypedDict):
    """The part of model.safetensors.index.json that is used here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    weight_map: dict[str, str]  # file of each tensor


def has_weights(folder: Path) -> bool:
    """Return whether a folder holds weights, readable or not."""
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX)) or _pickle(folder) is not None


def read_weights(folder: Path, remedy: str) -> Weights:
    """Return the weights of a folder under the names in its files, as stored.

    Raises UserError if a file is missing or damaged, or if the weights are pickled or not floating-point numbers.
    """
    files = _files(folder, remedy)
    weights: Weights = {}
    for file in dict.fromkeys(files.values()) if files else [WEIGHTS]:
        check_file(folder / file, remedy)
        try:
            weights |= load_file(folder / file)
        except safetensors.SafetensorError as error:
            raise UserError(f"{folder / file}: damaged or not a safetensors file ({error}); run dvc checkout") from None
    if lacking := files.keys() - weights.keys():
        raise UserError(f"{folder / INDEX}: {min(lacking)} is in none of its files; copy the folder again")
    for name, weight in weights.items():
        if weight.dtype not in FLOATS and not BUFFERS.search(name):
            kind = str(weight.dtype).removeprefix("torch.")
            raise UserError(
                f"{folder}: {name}: expected float32, float16 or bfloat16, got {kind}; use weights without quantization"
            )
    return weights


def _files(folder: Path, remedy: str) -> dict[str, str]:
    """Return the file of each tensor; empty if there is no index. As in `transformers`, a single file comes first."""
    if (folder / WEIGHTS).exists():
        return {}
    if (folder / INDEX).exists():
        files = read_as(Index, folder / INDEX, remedy)["weight_map"]
        for file in files.values():
            if Path(file).name != file:
                raise UserError(f"{folder / INDEX}: expected names of files beside it, got {quote(file)}; {remedy}")
        return files
    if found := _pickle(folder):
        raise UserError(
            f"{found}: pickled weights can run any code when they are read, so they are refused; if you trust them, "
            f"convert them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER)"
        )
    return {}


def _pickle(folder: Path) -> Path | None:
    return next((path for pattern in PICKLES for path in sorted(folder.glob(pattern))), None)
