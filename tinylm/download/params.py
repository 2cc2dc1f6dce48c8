"""`download`: the source of the stories, cleaning, and the split."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import Name, Paths, Seed
from tinylm.base.params import Section

Megabytes = Annotated[int, Field(gt=0, le=1_000_000)]
Stories = Annotated[int, Field(gt=0, le=1_000_000_000)]


class DownloadParams(Section):
    name: ClassVar[str] = "download"

    source: Literal["sample", "tinystories", "files"]  # built-in generator, Hugging Face Hub, your own text
    fallback: Literal["none", "sample"]  # source to use if the Hub cannot be reached
    max_stories: Stories | None  # use the first N stories, counted before cleaning; null: all
    sample_stories: Stories  # stories from the built-in generator
    variant: Literal["v1", "v2"]  # TinyStories by GPT-3.5 and GPT-4, or by GPT-4 only
    revision: Name  # commit of roneneldan/TinyStories on the Hub
    paths: Paths  # your own files: .txt, .jsonl, .parquet; absolute or relative to the repository's root
    val_paths: Paths  # your own validation files; empty: hold out stories of `paths`
    shard_mb: Megabytes | None  # put whole files together into shards of at least so many MB; null: one file
    separator: Literal["endoftext", "blank_line"]  # what separates two stories in a .txt file
    text_field: Name  # key or column with the story (.jsonl, .parquet)
    min_chars: Annotated[int, Field(ge=0, le=1_000_000)]  # shortest story to keep [characters]
    drop_empty: bool  # drop stories that are only white space
    drop_duplicates: bool  # drop stories equal to an earlier one in the same split
    drop_validation_from_train: bool  # drop training stories equal to a validation story
    repair_mojibake: bool  # repair UTF-8 that was decoded as Windows-1252 (â€œ)
    remove_control_characters: bool  # except tabs and line ends; also byte order marks inside a story
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # fraction held out if the source has no validation split
    seed: Seed  # of the generator and of the split

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if good.get("source") == "files" and not good.get("paths", True):
            yield "paths", "expected at least one path with download.source: files, got none"
        if good.get("shard_mb") is not None and good.get("source", "files") != "files":
            yield "shard_mb", f"expected null with download.source: {good['source']}, got {good['shard_mb']}"
