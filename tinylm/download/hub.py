"""TinyStories from the Hugging Face Hub, or from the local Hub cache.

`datasets` only lists the files of a split; our own reader reads them. `load_dataset(streaming=True)` reads ahead in
Arrow's threads, and a process that stops reading early, as with `download.max_stories`, sometimes aborts or hangs at
exit (one run in four at half a second of latency, with datasets 5.2.0 and pyarrow 26.0.1).
"""

import errno
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from tinylm.base.errors import UserError, shorten
from tinylm.corpus.storage import BROKEN, COLUMN, one_line, read_column
from tinylm.download.hub_cache import cached_splits, read_cached
from tinylm.download.plain_text import read_txt_stream

REPOSITORY = "roneneldan/TinyStories"
# Training and validation files of version 2; those of version 1 are the Parquet files of the dataset.
V2_FILES = ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")
COMMIT = re.compile(r"[0-9a-f]{40}")
LONGEST_REASON = 100  # characters quoted from a library's message about a failed request
# The bases of HfHubHTTPError include the error of the HTTP library huggingface_hub uses, which has changed twice.
CONNECTION_ERRORS = cast(tuple[type[Exception], ...], (*HfHubHTTPError.__bases__, OSError))
RETRY_STATUS = (408, 429)  # and every status from 500: problems of the server


class HubUnreachableError(UserError):
    """The Hub cannot be reached and its cache is incomplete: the only error that triggers `download.fallback`."""


@dataclass(frozen=True)
class Snapshot:
    """The official splits at one commit; each iterator can be read once."""

    commit: str
    train: Iterator[str]
    val: Iterator[str]


def open_tinystories(revision: str, variant: Literal["v1", "v2"], limit: int | None) -> Snapshot:
    """Open TinyStories at `revision`, from the cache if it holds `limit` training stories (None: all of them).

    Otherwise the validation split, and the training split if there is no limit, are downloaded into the cache before
    this returns; with a limit, training stories are streamed. Raises HubUnreachableError if the Hub cannot be reached,
    and UserError for other errors, including an interrupted download or stream.
    """
    _quieten()
    if not constants.HF_HUB_OFFLINE and not COMMIT.fullmatch(revision):
        revision = _resolve(revision)  # a branch may have moved since it was cached
    if cached := cached_splits(REPOSITORY, revision, limit, V2_FILES if variant == "v2" else None):
        commit, train_paths, val_paths = cached
        return Snapshot(commit, read_cached(train_paths), read_cached(val_paths))
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(f"HF_HUB_OFFLINE is set, and the cache does not hold all of {revision}")
    commit = _resolve(revision)
    train, val = (V2_FILES[:1], V2_FILES[1:]) if variant == "v2" else _list_files(commit)
    try:
        val_paths = _download(val, commit)
    except CONNECTION_ERRORS as error:
        raise _explain(error, commit) from error
    if limit is not None:
        return Snapshot(commit, _stream(train, commit), read_cached(val_paths))
    try:
        return Snapshot(commit, read_cached(_download(train, commit)), read_cached(val_paths))
    except CONNECTION_ERRORS as error:
        raise _interrupted(f"the download of {REPOSITORY}", error, "complete files are kept") from error


def _quieten() -> None:
    """Disable progress bars outside terminals, and the HTTP libraries' log line for each request."""
    if not sys.stderr.isatty():
        disable_progress_bars()
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _resolve(revision: str) -> str:
    """Return the commit of `revision`, with a single request and no retries, so that a missing network fails fast."""
    try:
        api = huggingface_hub.HfApi()
        info = api.dataset_info(REPOSITORY, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except CONNECTION_ERRORS as error:
        raise _explain(error, revision) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unreachable(f"its response is not that of a Hub ({one_line(error)})") from error
    return str(info.sha)


def _list_files(commit: str) -> tuple[list[str], list[str]]:
    """Return the paths of the training and validation files in the repository."""
    import datasets  # takes a second; not needed with a complete cache

    try:
        found = datasets.load_dataset_builder(REPOSITORY, revision=commit).config.data_files or {}
    except CONNECTION_ERRORS as error:
        raise _interrupted(f"the list of files of {REPOSITORY} at {commit}", error) from error
    # If the Hub fails, `datasets` silently uses any revision in its own cache, which has another prefix.
    prefix = f"hf://datasets/{REPOSITORY}@{commit}/"
    splits = [[str(url) for url in found.get(split, [])] for split in ("train", "validation")]
    if not all(urls and all(u.startswith(prefix) and u.endswith(".parquet") for u in urls) for urls in splits):
        raise UserError(
            f"download.revision: expected Parquet files for train and validation in {REPOSITORY} at {commit}, "
            f"found {dict(found)}; use the revision in presets/four_hour.yaml"
        )
    train, val = ([url.removeprefix(prefix) for url in urls] for urls in splits)
    return train, val


def _download(names: Sequence[str], commit: str) -> list[Path]:
    """Download files into the Hub cache, unless they are in it, and return their paths."""
    folder = huggingface_hub.snapshot_download(
        REPOSITORY, repo_type="dataset", revision=commit, allow_patterns=list(names)
    )
    paths = [Path(folder, name) for name in names]
    if missing := [path.name for path in paths if not path.exists()]:
        raise UserError(
            f"download.variant: expected {', '.join(missing)} in {REPOSITORY} at {commit}, not found; "
            "use the revision in presets/four_hour.yaml"
        )
    return paths


def _stream(names: Sequence[str], commit: str) -> Iterator[str]:
    """Stream stories over the network, a few MB ahead; a failed read is retried for up to half a minute."""
    count = 0
    for name in names:
        try:
            with huggingface_hub.HfFileSystem().open(f"datasets/{REPOSITORY}@{commit}/{name}") as file:
                for story in _read(file, name):
                    count += 1
                    yield story or ""
        except (*CONNECTION_ERRORS, *BROKEN) as error:
            raise _interrupted(f"{name} of {REPOSITORY}, after {count} stories,", error) from error


def _read(file: IO[bytes], name: str) -> Iterator[str | None]:
    if name.endswith(".txt"):
        return read_txt_stream(file, name, "endoftext")
    return read_column(file, COLUMN, name, "try another download.revision")


def _explain(error: BaseException, revision: str) -> UserError:
    """Return the error to show the user for a failed request."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        return _explain(error.__cause__, revision)
    if isinstance(error, RevisionNotFoundError):
        return UserError(
            f"download.revision: expected a commit, branch or tag of {REPOSITORY}, got {revision}, not found; "
            "use the one in presets/four_hour.yaml"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UserError(f"{constants.ENDPOINT} has no dataset {REPOSITORY}, or it is private; check HF_ENDPOINT")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status < 500 and status not in RETRY_STATUS:
            return UserError(
                f"{constants.ENDPOINT} refuses {REPOSITORY}: {one_line(error)}; check HF_ENDPOINT and HF_TOKEN"
            )
    elif isinstance(error, OSError) and (error.filename or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return UserError(
            f"cannot write to the cache {constants.HF_HUB_CACHE}: {one_line(error)}; free some space, or set HF_HOME"
        )
    return _unreachable(one_line(error))


def _unreachable(reason: str) -> HubUnreachableError:
    return HubUnreachableError(
        f"cannot get {REPOSITORY} from {constants.ENDPOINT}: {shorten(reason, LONGEST_REASON)}; check the network, or "
        "set HF_HUB_OFFLINE=1 with a complete cache, download.source: files, or download.fallback: sample"
    )


def _interrupted(what: str, error: BaseException, kept: str = "nothing is lost") -> UserError:
    return UserError(f"{what} was interrupted: {one_line(error)}; run the same command again, {kept}")
