"""Open the source named by `download.source`; the libraries of a source are imported only if it is used."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.stage import log
from tinylm.download.params import DownloadParams


@dataclass(frozen=True)
class Source:
    """Uncleaned stories, which can be read once; `train` is limited to `download.max_stories`."""

    name: str
    train: Iterable[str]
    val: Iterable[str] | None  # official validation stories; None: hold out a part of `train`
    provenance: dict[str, Any]  # what identifies the text, for metrics
    remedy: str  # what to change if there are too few stories


def open_source(params: DownloadParams, root: Path) -> Source:
    """Open the source that `params` specify; paths are relative to `root`.

    Raises UserError if it cannot be opened. If the Hub cannot be reached and `download.fallback` is `sample`, returns
    the sample source instead.
    """
    match params.source:
        case "sample":
            return _sample(params)
        case "files":
            return _files(params, root)
        case "tinystories":
            return _tinystories(params)


def _sample(params: DownloadParams) -> Source:
    from tinylm.download import sample

    count = min(params.sample_stories, params.max_stories or params.sample_stories)
    return Source(
        name="sample",
        train=_with_user_error(sample.stories(count, params.seed)),
        val=None,
        provenance={"seed": params.seed, "stories": count},
        remedy="raise download.sample_stories and download.max_stories",
    )


def _with_user_error(stories: Iterable[str]) -> Iterable[str]:
    """Turn the ValueError of an exhausted grammar into a UserError."""
    try:
        yield from stories
    except ValueError as error:  # the grammar has no more distinct stories
        raise UserError(f"download.sample_stories: {error}") from error


def _files(params: DownloadParams, root: Path) -> Source:
    from tinylm.download import files

    train = files.find(params.paths, root, "download.paths")
    val = files.find(params.val_paths, root, "download.val_paths")
    return source_of_files(
        itertools.islice(files.read(train, params.separator, params.text_field), params.max_stories),
        files.read(val, params.separator, params.text_field) if val else None,
        {"paths": files.describe(train), "val_paths": files.describe(val)},
    )


def source_of_files(train: Iterable[str], val: Iterable[str] | None, provenance: dict[str, Any]) -> Source:
    """Return the source `files` with these stories."""
    return Source("files", train, val, provenance, remedy="add more text, or change download.separator")


def _tinystories(params: DownloadParams) -> Source:
    from tinylm.download import hub

    try:
        snapshot = hub.open_tinystories(params.revision, params.variant, params.max_stories)
    except hub.HubUnreachableError as error:
        if params.fallback == "none":
            raise
        log.warning("warning: %s", error)
        log.warning("warning: download.fallback: sample: using stories from the built-in generator instead")
        return _sample(params)
    return Source(
        name="tinystories",
        train=itertools.islice(snapshot.train, params.max_stories),
        val=snapshot.val,
        provenance={"repository": hub.REPOSITORY, "revision": snapshot.commit, "variant": params.variant},
        remedy="try the download.revision of presets/four_hour.yaml",
    )
