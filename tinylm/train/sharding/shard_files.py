"""The files of a resume checkpoint of a sharded run: a folder to which each process writes what it holds.

    step_00000010-CHECKSUM.sharded/
        shard-00001-model-00001-of-00001.safetensors    of the first process, and so on
        state.json                                      all but the tensors; the checksum of each file

CHECKSUM is that of state.json. torch.distributed.checkpoint writes and reads the tensors, for any number of processes.
Of its formats this is the one without pickle, which could run code when it is read.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from tinylm.base import atomic
from tinylm.train.sharding.momenta import stacked

STATE = "state.json"
Mould = Callable[[str, torch.Size, torch.dtype], Tensor]  # an empty tensor to read into, for a name, shape and dtype

logging.getLogger("torch.distributed.checkpoint").setLevel(logging.WARNING)  # it reports each file


def write_shards(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup) -> None:
    """Write the file of this process; all processes of the group call this.

    Raises CheckpointException, which is no Exception, in all of them if one fails.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    save(dict(tensors), storage_writer=writer, process_group=group)


def checksums(folder: Path, group: dist.ProcessGroup) -> dict[str, str]:
    """The checksum of each file that this process has written to the folder."""
    return {path.name: atomic.sha256(path) for path in folder.glob(f"shard-{dist.get_rank(group) + 1:05d}-*")}


def seal(folder: Path, info: Mapping[str, Any], files: Mapping[str, str], name: str) -> None:
    """Write state.json and rename the folder to `name`, in which CHECKSUM is replaced by the checksum of state.json."""
    atomic.write_json(folder / STATE, {"info": info, "files": files})
    checksum = atomic.sha256(folder / STATE)[:16]
    folder.replace(folder.with_name(name.replace("CHECKSUM", checksum)))
    atomic.sync_folder(folder.parent)


def verify(folder: Path, checksum: str) -> None:
    """Raise ValueError or OSError if a resume checkpoint is damaged."""
    content = (folder / STATE).read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != checksum:
        raise ValueError(f"the checksum of {STATE} is not the one in its name")
    state = json.loads(content)
    found = {path.name: atomic.sha256(path) for path in folder.glob("shard-*")}
    if wrong := dict(found.items() ^ state["files"].items()):
        raise ValueError(f"the checksum of {min(wrong)} is not the one in {STATE}, or it is missing")


def read_info(folder: Path) -> dict[str, Any]:
    """Return the `info` of a resume checkpoint, which is all but the tensors."""
    info: dict[str, Any] = json.loads((folder / STATE).read_bytes())["info"]
    return info


def read_shards(folder: Path, mould: Mould) -> dict[str, Tensor]:
    """Read the tensors into those that `mould` returns; of a DTensor, the rows of this process."""
    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors = {name: mould(name, part.size, part.properties.dtype) for name, part in stored.items()}  # type: ignore[union-attr]
    with warnings.catch_warnings():  # each process reads for itself, which torch warns of
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors


def read_whole(folder: Path) -> dict[str, Tensor]:
    """Read the tensors as a run that is not sharded holds them."""
    return stacked(read_shards(folder, lambda _, shape, dtype: torch.empty(shape, dtype=dtype)))
