"""Packages that only some commands need: one line when an extra of pyproject.toml is not installed."""

import importlib.metadata
import importlib.util
import sys

from tinylm.base.errors import UserError

# The modules that each extra brings (a test compares with pyproject.toml). ruamel.yaml.clib only makes DVC faster.
EXTRAS = {
    "pipeline": (
        *("datasets", "dvc", "filelock", "huggingface_hub", "matplotlib"),
        *("pandas", "psutil", "pyarrow", "tqdm", "yaml"),
    ),
    "export": ("gguf", "onnx"),
    "ray": ("ray",),
    "sweep": ("optuna",),
    "tracking": ("tensorboard", "wandb"),
}
SHOWN = 3  # of the missing modules


def require(extra: str, who: str) -> None:
    """Raise UserError if a module of `extra` is not installed; `who` needs it."""
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise UserError(f"{who} needs the extra `{extra}` ({shown}), which is not installed; {remedy(extra)}")


def remedy(extra: str) -> str:
    """Return the advice that installs `extra` for this Python, which may have no pip."""
    has_pip = any(importlib.metadata.distributions(name="pip"))  # find_spec("pip") would run a hook of setuptools
    pip = f"{sys.executable} -m pip" if has_pip else "uv pip"
    return f"in the repository, run: {pip} install -e '.[{extra}]'"
