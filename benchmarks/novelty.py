"""What it takes to look for each run of words of some stories in the whole training corpus."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.data import read_stories_for, vary, write_corpus
from benchmarks.measure import run_python
from benchmarks.report import Row, write

TITLE = "Novelty: stories looked for in the corpus"
TEXTS = 500
CODE = """
import json
from pathlib import Path
from tinylm.generate.metrics.novelty import longest_matches
longest_matches(json.loads(Path("texts.json").read_text()), Path("train.parquet"))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `data`: `--stories` and `--sizes`."""


def bench(arguments: argparse.Namespace) -> None:
    stories = read_stories_for(arguments)
    texts, others = stories[:TEXTS], stories[TEXTS:]
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in sorted(arguments.sizes) for row in measure(Path(folder), texts, others, size)]
    write("novelty", TITLE, rows)


def measure(place: Path, texts: list[str], others: list[str], size: int) -> Iterator[Row]:
    """The corpus is made of other stories than are looked for."""
    (place / "texts.json").write_text(json.dumps(texts))
    write_corpus(place / "train.parquet", vary(others, size * 10**6))
    used = run_python(["-c", CODE], place)
    note = f"{size / used.seconds:.1f} MB/s on one core; at most {used.peak_mb:.0f} MiB"
    yield Row(f"{len(texts)} stories in {size:,} MB", used.seconds, "s", None, note)
