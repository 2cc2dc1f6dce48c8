"""Novelty: search for all word n-grams of some stories in the whole training corpus."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.data import read_stories_for, vary, write_corpus
from benchmarks.measure import run_python
from benchmarks.report import Row, write

TITLE = "Novelty: searching the corpus for stories"
TEXTS = 500
CODE = """
import json
from pathlib import Path
from tinylm.generate.metrics.novelty import longest_matches
longest_matches(json.loads(Path("texts.json").read_text()), Path("train.parquet"))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: this section uses `--stories` and `--sizes` of `data`."""


def bench(arguments: argparse.Namespace) -> None:
    stories = read_stories_for(arguments)
    texts, others = stories[:TEXTS], stories[TEXTS:]
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in sorted(arguments.sizes) for row in measure(Path(folder), texts, others, size)]
    write("novelty", TITLE, rows)


def measure(folder: Path, texts: list[str], others: list[str], size: int) -> Iterator[Row]:
    """Time the search for `texts` in a corpus of `size` megabytes made from other stories."""
    (folder / "texts.json").write_text(json.dumps(texts))
    write_corpus(folder / "train.parquet", vary(others, size * 10**6))
    used = run_python(["-c", CODE], folder)
    note = f"{size / used.seconds:.1f} MB/s on one core; peak {used.peak_mb:.0f} MiB"
    yield Row(f"{len(texts)} stories in {size:,} MB", used.seconds, "s", None, note)
