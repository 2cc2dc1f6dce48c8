"""How stories are written where a user has not said how.

What a model folder asks for comes first (generation_config.json, by the names of `transformers`; the
folders that this pipeline trains leave it open), then the section `generate` of a params.yaml in the working
directory, so that stories are those of the pipeline, then the model's own distribution. The seed is
drawn anew for each story.
"""

import os
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE, read_params
from tinylm.base.reading import read_object
from tinylm.base.runtime import RuntimeParams
from tinylm.generate.params import GenerateParams
from tinylm.sampling.request import WritingRequest

GENERATION_CONFIG = "generation_config.json"
OWN_DISTRIBUTION: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None}
NEUTRAL: dict[str, Any] = OWN_DISTRIBUTION | {
    "prompt": "",
    "max_tokens": 1,
    "seed": None,
}  # valid, to check others with

# Where there is no params.yaml: what the machine has, and nothing that a terminal would show.
PLAIN_RUNTIME = RuntimeParams(
    device="auto",
    threads=None,
    processes=None,
    workers=None,
    compile=False,
    progress=False,
    resume_minutes=10.0,
    resume_gb=None,
    tensorboard=False,
    wandb="disabled",
    sample_every=None,
    sample_prompt="",
)


def read_defaults(folder: Path, context: int) -> dict[str, Any]:
    """Values for the fields of a WritingRequest but its prompt; `context` is the model's [tokens]."""
    values = OWN_DISTRIBUTION | {"max_tokens": context - 1, "seed": None}
    if Path(PARAMS_FILE).is_file():
        p = read_params()[GenerateParams]
        values |= {"temperature": p.temperature, "top_k": p.top_k, "top_p": p.top_p}
        values["max_tokens"] = min(p.max_tokens, context - 1)
    return values | _asked_by(folder)


def read_runtime() -> RuntimeParams:
    return read_params()[RuntimeParams] if Path(PARAMS_FILE).is_file() else PLAIN_RUNTIME


def _asked_by(folder: Path) -> dict[str, Any]:
    path = folder / GENERATION_CONFIG
    if not os.path.lexists(path):
        return {}
    config = read_object(path, "mend or remove it")
    asked = {name: config[name] for name in OWN_DISTRIBUTION if config.get(name) is not None}
    if asked.get("top_k") == 0:  # how `transformers` writes that there is no limit
        asked["top_k"] = None
    try:
        WritingRequest.of(NEUTRAL | asked)
    except UserError as error:
        raise UserError(f"{path}: {error}; mend or remove it") from None
    return asked
