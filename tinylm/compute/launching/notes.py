"""Notes that the processes of a run leave for their launcher: empty files in a folder that it made.

A launcher that is told nothing but exit codes could not tell a machine that was lost from one that never came.
"""

import os
from enum import StrEnum
from pathlib import Path

FOLDER = "TINYLM_NOTES"  # environment variable


class Note(StrEnum):
    """What a note says of this machine's processes; the value is the name of its file."""

    MET = "met"  # they met those of all other machines
    LOST = "lost"  # they lost one of these
    FINISHED = "finished"  # one of them has nothing left to do; the name of the file ends with its local rank


def leave(note: Note, rank: int | None = None) -> bool:
    """Leave a note, with the local rank if it is about one process; return whether it is new.

    Where no launcher reads notes, only the first process of a machine has a new one.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        (Path(folder) / f"{note}{'' if rank is None else rank}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
