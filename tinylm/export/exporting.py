"""Write an export: a folder that appears whole or not at all, with the checksums of its files."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.export import gguf, llama2c, mlx, onnx_folder, web_folder
from tinylm.export.formats import FORMATS
from tinylm.export.source import Source

CHECKSUMS = "SHA256SUMS"  # `sha256sum --check SHA256SUMS` reads it
# Writes the files of an export into a folder that exists; the second argument is one of the format's types.
Writer = Callable[[Source, str, Path], None]
WRITERS: dict[str, Writer] = {
    "gguf": gguf.write,
    "onnx": onnx_folder.write,
    "web": web_folder.write,
    "llama2c": llama2c.write,
    "mlx": mlx.write,
}


@dataclass(frozen=True)
class File:
    """A file of an export."""

    path: Path
    size: int  # bytes
    sha256: str


def export(source: Source, format_: str, type_: str, exports: Path) -> tuple[Path, list[File]]:
    """Write a model to a folder in `exports` and return the folder and its files; an older export is replaced.

    Raises UserError if the format cannot hold this model, or if the folder holds anything else than an export.
    """
    folder = exports / folder_name(source, format_, type_)
    if folder.exists() and not (folder / CHECKSUMS).is_file():
        raise UserError(f"{folder}: expected nothing, or an older export, got other files; move them away")
    new = exports / f".{folder.name}.{os.getpid()}.tmp"
    try:
        new.mkdir(parents=True)
        WRITERS[format_](source, type_, new)
        files = [path for path in sorted(new.rglob("*")) if path.is_file()]
        sums = {path.relative_to(new).as_posix(): atomic.sha256(path) for path in files}
        atomic.write_text(new / CHECKSUMS, "".join(f"{sum_}  {name}\n" for name, sum_ in sums.items()))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder, [File(folder / name, (folder / name).stat().st_size, sum_) for name, sum_ in sums.items()]


def folder_name(source: Source, format_: str, type_: str) -> str:
    """Return the name of an export's folder: model-gguf-q8_0; the default type goes without saying."""
    return "-".join([source.name, format_] + ([type_] if type_ != FORMATS[format_].types[0] else []))
