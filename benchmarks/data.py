"""Text to tokens: speed next to the tokenizers library, and memory and time as the corpus grows."""

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.measure import ROOT, run_stage, seconds
from benchmarks.report import Row, write
from tinylm.base.cores import usable_cores
from tinylm.base.params import read_params
from tinylm.corpus.storage import read_row_group, read_stories, row_groups, writing_stories
from tinylm.download.plain_text import read_txt
from tinylm.download.sample import stories as sample_stories
from tinylm.model.params import ModelParams
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.train.batches import RandomSequences, Sequences, StridedSequences, gather
from tinylm.train.params import TrainParams
from tinylm.train_tokenizer.training import train_bpe
from tinylm.workers.processes import LocalWorkers

TITLE = "Data: from text to tokens"
SAMPLE_STORIES = 12_000  # about 10 MB from the built-in generator, if no file is given
TOKEN_FILE_BYTES, PIECE = 1 << 30, 1 << 26
BATCHES = 2000
REPETITIONS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stories", type=Path, help=".txt with <|endoftext|> between stories; default: generated ones")
    parser.add_argument("--vocab-size", type=int, default=2048, help="vocabulary of the tokenizer (default: 2048)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[200, 2000], metavar="MB", help="sizes of the corpora")


def bench(arguments: argparse.Namespace) -> None:
    stories = read_stories_for(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(read_batches(folder))
        corpus = write_corpus(folder / "stories.parquet", iter(stories))
        rows += compare_encoders(corpus, train_bpe(stories, arguments.vocab_size, 2), REPETITIONS)
        for size in sorted(arguments.sizes):
            run = folder / f"{size}"
            rows += run_stages(run, stories, arguments.vocab_size, size)
            if size == min(arguments.sizes):
                tokenizer = Tokenizer.from_file(str(run / "artifacts/tokenizer/tokenizer.json"))
                rows += compare_encoders(run / "artifacts/corpus/train.parquet", tokenizer, 1)
            shutil.rmtree(run)
    write("data", TITLE, rows)


def read_stories_for(arguments: argparse.Namespace) -> list[str]:
    """Return the stories of `--stories`, or generated ones."""
    if arguments.stories:
        return [story.strip() for story in read_txt(arguments.stories, arguments.stories.name, "endoftext")]
    return list(sample_stories(SAMPLE_STORIES, 1337))


def compare_encoders(corpus: Path, tokenizer: Tokenizer, repetitions: int) -> Iterator[Row]:
    """Compare encoders that read the same Parquet file and write the same token file; no caches are kept."""
    folder = corpus.parent
    encoders: dict[str, Callable[[], object]] = {
        "loop over encode": lambda: encode_in_a_loop(corpus, tokenizer, folder / "loop.bin"),
        "encode_batch, all cores": lambda: encode_in_batches(corpus, tokenizer, folder / "batch.bin"),
        "this project, one process": lambda: write_split(folder, "one", corpus, tokenizer),
        "this project, all cores": lambda: write_split(folder, "all", corpus, tokenizer, LocalWorkers(usable_cores())),
    }
    times = {name: seconds(encoder, repetitions) for name, encoder in encoders.items()}
    outputs = [(folder / f"{name}.bin").read_bytes() for name in ("loop", "batch", "one", "all")]
    assert outputs == outputs[:1] * 4, "the encoders' ids differ"
    tokens, base = len(outputs[0]) / 2, times["encode_batch, all cores"]
    megabytes = sum(map(len, read_bytes(corpus))) / 1e6
    for name, taken in times.items():
        yield Row(
            f"pretokenize {megabytes:.0f} MB, {name}",
            tokens / taken,
            "tokens/s",
            base / taken,
            f"{megabytes / taken:.1f} MB/s",
        )


def read_bytes(corpus: Path) -> Iterator[bytes]:
    """Yield the stories of a corpus as UTF-8."""
    for group in row_groups(corpus):
        yield from read_row_group(group)


def encode_in_a_loop(corpus: Path, tokenizer: Tokenizer, output: Path) -> None:
    """Encode story by story, as most scripts do."""
    end = end_of_text_id(tokenizer)
    with open(output, "wb") as file:
        for story in read_stories(corpus):
            ids = [*tokenizer.encode(story).ids, end]
            file.write(np.array(ids, "<u2").tobytes())


def encode_in_batches(corpus: Path, tokenizer: Tokenizer, output: Path) -> None:
    """Encode with the library's own batching, which uses all cores."""
    end = end_of_text_id(tokenizer)
    with open(output, "wb") as file:
        for group in row_groups(corpus):
            stories = [story.decode() for story in read_row_group(group)]
            for encoding in tokenizer.encode_batch_fast(stories):
                ids = [*encoding.ids, end]
                file.write(np.array(ids, "<u2").tobytes())


def run_stages(folder: Path, stories: list[str], vocab_size: int, size: int) -> Iterator[Row]:
    """Run three stages as in the pipeline, on a corpus of `size` megabytes made from the stories."""
    folder.mkdir()
    text = folder / "stories.txt"
    with open(text, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{story}\n<|endoftext|>\n" for story in vary(stories, size * 10**6))
    write_params(folder, text, vocab_size)
    for stage in ("download", "train_tokenizer", "pretokenize"):
        used = run_stage(stage, folder)
        note = f"{size / used.seconds:.1f} MB/s; peak {used.peak_mb:.0f} MiB, all processes together"
        yield Row(f"stage {stage}, {size:,} MB", used.seconds, "s", None, note)


def vary(stories: list[str], size: int) -> Iterator[str]:
    """Yield `size` bytes of stories: the first half of one and the second half of another, no pair twice."""
    written, turn = 0, 0
    while True:
        for index, story in enumerate(stories):
            other = stories[(index * 7 + turn * 31 + 1) % len(stories)]
            first, last = story.split(". "), other.split(". ")
            varied = ". ".join([*first[: len(first) // 2 + 1], *last[len(last) // 2 :]])
            yield varied
            written += len(varied.encode())
            if written >= size:
                return
        turn += 1


def write_params(folder: Path, text: Path, vocab_size: int) -> None:
    """Write a params.yaml that reads the stories of `text`."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changes = {"source": "files", "paths": f"[{text}]", "val_fraction": "0.002", "vocab_size": str(vocab_size)}
    for key, value in changes.items():
        params = re.sub(rf"^  {key}: [^#\n]*", f"  {key}: {value} ", params, count=1, flags=re.MULTILINE)
    (folder / "params.yaml").write_text(params, encoding="utf-8")


def write_corpus(path: Path, stories: Iterator[str]) -> Path:
    """Write stories to a Parquet file; return its path."""
    with writing_stories(path) as writer:
        for story in stories:
            writer.write(story.encode())
    return path


def read_batches(folder: Path) -> Iterator[Row]:
    """Time reading batches for the default model from a token file of 1 GB, with cold and warm page cache."""
    path = folder / "large.bin"
    with open(path, "wb") as file:
        for seed in range(TOKEN_FILE_BYTES // PIECE):
            ids = np.random.default_rng(seed).integers(0, 2048, PIECE // 2, dtype=np.uint16)
            file.write(ids.tobytes())
        file.flush()
        os.fsync(file.fileno())
    params = read_params(ROOT / "params.yaml")
    p, context = params[TrainParams], params[ModelParams].context
    tokens = np.memmap(path, "<u2", "r")
    order = np.arange(p.batch_size, dtype=np.uint64)
    kinds: dict[str, Sequences] = {
        "random": RandomSequences(len(tokens), context, 1337),
        "strided": StridedSequences(len(tokens), context, 1337, context),
    }
    for name, sequences in kinds.items():
        forget(path)

        def read(sequences: Sequences = sequences) -> None:
            for step in range(BATCHES):
                gather(tokens, sequences.starts(step, order, p.batch_size), context)

        for state in ("cold", "warm"):
            taken = seconds(read, 1) / BATCHES * 1e6
            note = f"{p.batch_size} x {context + 1} tokens of {TOKEN_FILE_BYTES >> 20} MB"
            yield Row(f"one batch, {name} sequences, file {state}", taken, "µs", None, note)


def forget(path: Path) -> None:
    """Drop the file from the page cache, if the system supports it."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
