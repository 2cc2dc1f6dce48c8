"""Default sampling options.

The model folder's generation_config.json comes first (with the names of `transformers`; models trained by
this pipeline do not set any), then the section `generate` of a params.yaml in the working directory, so that
stories match those of the pipeline, then the model's own distribution. The default seed is random for each story.
"""

import os
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE, read_params
from tinylm.base.reading import read_object
from tinylm.base.runtime import RuntimeParams
from tinylm.generate.params import GenerateParams
from tinylm.sampling.request import GenerationRequest

GENERATION_CONFIG = "generation_config.json"
OWN_DISTRIBUTION: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None}
NEUTRAL: dict[str, Any] = OWN_DISTRIBUTION | {
    "prompt": "",
    "max_tokens": 1,
    "seed": None,
}  # valid values, to check a part of a request with

# Used without a params.yaml: the machine's own device, no logging.
PLAIN_RUNTIME = RuntimeParams(
    device="auto",
    threads=None,
    processes=None,
    launcher="none",
    hosts=None,
    rendezvous=None,
    rejoin_seconds=0.0,
    parallel="auto",
    activation_checkpointing="auto",
    engine="processes",
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
    """Return the defaults of all fields of a GenerationRequest but its prompt; `context` is the model's [tokens].

    Raises UserError for an invalid generation_config.json or params.yaml.
    """
    values = OWN_DISTRIBUTION | {"max_tokens": context - 1, "seed": None}
    if Path(PARAMS_FILE).is_file():
        p = read_params()[GenerateParams]
        values |= {"temperature": p.temperature, "top_k": p.top_k, "top_p": p.top_p}
        values["max_tokens"] = min(p.max_tokens, context - 1)
    return values | _read_generation_config(folder)


def read_runtime() -> RuntimeParams:
    """Return the runtime parameters of params.yaml, or PLAIN_RUNTIME if there is none."""
    return read_params()[RuntimeParams] if Path(PARAMS_FILE).is_file() else PLAIN_RUNTIME


def _read_generation_config(folder: Path) -> dict[str, Any]:
    path = folder / GENERATION_CONFIG
    if not os.path.lexists(path):
        return {}
    config = read_object(path, "fix or remove it")
    values = {name: config[name] for name in OWN_DISTRIBUTION if config.get(name) is not None}
    if values.get("top_k") == 0:  # `transformers` writes 0 for no limit
        values["top_k"] = None
    try:
        GenerationRequest.of(NEUTRAL | values)
    except UserError as error:
        raise UserError(f"{path}: {error}; fix or remove it") from None
    return values
