"""`download`: where the stories come from, and how they are split."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import Name, Paths, Seed
from tinylm.base.params import Section

Stories = Annotated[int, Field(gt=0, le=1_000_000_000)]


class DownloadParams(Section):
    name: ClassVar[str] = "download"

    source: Literal["sample", "tinystories", "files"]  # embedded generator, Hugging Face Hub, own text
    fallback: Literal["none", "sample"]  # what to do when the Hub cannot be reached
    max_stories: Stories | None  # first N stories of the source before cleaning; null: all
    sample_stories: Stories  # stories that the embedded generator writes
    variant: Literal["v1", "v2"]  # TinyStories by GPT-3.5 and GPT-4, or by GPT-4 alone
    revision: Name  # commit of roneneldan/TinyStories on the Hub
    paths: Paths  # own files: .txt, .jsonl, .parquet; absolute or relative to the repository's root
    val_paths: Paths  # own validation files; empty: a split of `paths` by story
    separator: Literal["endoftext", "blank_line"]  # what stands between two stories of a .txt file
    text_field: Name  # key or column that holds the story (.jsonl, .parquet)
    min_chars: Annotated[int, Field(ge=0, le=1_000_000)]  # shortest story that is kept [characters]
    drop_empty: bool  # leave out stories of nothing but white space
    drop_duplicates: bool  # leave out stories equal to an earlier one of the same side
    drop_validation_from_train: bool  # leave out training stories equal to a validation story
    repair_mojibake: bool  # UTF-8 that was read as Windows-1252 (â€œ) becomes what it was
    remove_control_characters: bool  # all but tabs and line ends, and byte order marks inside a story
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # share of stories held out where the source has no split
    seed: Seed  # of the generator and of the split

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if good.get("source") == "files" and not good.get("paths", True):
            yield "paths", "expected at least one path with download.source: files, got none"
