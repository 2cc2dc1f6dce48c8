"""A token set of a terabyte opens at once and takes no memory: the files of ids are sparse, the offsets are real."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import tiny
from tinylm.base import checksums
from tinylm.base.checksums import Content, Request
from tinylm.base.shards import shard_name
from tinylm.tokens.description import ShardInfo, SplitInfo, read_description, write_description
from tinylm.tokens.store import TokenStore, open_tokens
from tinylm.train.batches import gather
from tinylm.train.setup.description import describe
from tinylm.train.step import Trainer, make_sequences
from tinylm.train.validation import StorySample

SHARDS, TOKENS = 1000, 500_000_000  # tokens of a shard, of two bytes each
STORY = 250  # tokens of a story
MOST = 64 << 20  # bytes of memory; the offsets alone have 32 GB
IDS, OFFSETS = np.dtype("<u2"), np.dtype("<u8")


def write_terabyte(folder: Path) -> None:
    """Turn the training split of a tiny store into one of a terabyte, whose files are as their writer recorded them."""
    tokens = folder / "tokens"
    stems = [tokens / shard_name("train", index, SHARDS) for index in range(SHARDS)]
    sums = [letter * 64 for letter in "abc"]
    for ending, last in (("_offsets", TOKENS), ("_text_offsets", 4 * TOKENS)):
        first = Path(f"{stems[0]}{ending}.bin")
        np.linspace(0, last, TOKENS // STORY + 1).astype(OFFSETS).tofile(first)
        for stem in stems[1:]:  # the same stories in each shard
            os.link(first, f"{stem}{ending}.bin")
        digest = sums[1] if ending == "_offsets" else sums[2]
        checksums.record(Request(first, OFFSETS), Content(digest, last))
    for stem in stems:
        path = Path(f"{stem}.bin")
        path.touch()
        os.truncate(path, TOKENS * IDS.itemsize)
    for stem in stems:
        checksums.record(Request(Path(f"{stem}.bin"), IDS), Content(sums[0], 0))
    shards = tuple(ShardInfo(TOKENS, TOKENS // STORY, 4 * TOKENS, *sums) for _ in stems)
    train = SplitInfo(SHARDS * TOKENS, SHARDS * TOKENS // STORY, 4 * SHARDS * TOKENS, lossless=True, shards=shards)
    found = read_description(tokens)
    splits = {"train": train, "val": found.splits.val}
    write_description(tokens, folder / "tokenizer.json", found.vocab_size, found.end_of_text, splits)


def start_of_training(tokens: TokenStore) -> NDArray[np.int64]:
    """Do what a run does before its first step, and take batches; return the starts of their sequences."""
    rows, starts = np.arange(64, dtype=np.uint64), []
    for sequences in ("random", "strided"):
        for align in ("none", "story"):
            p = tiny.train_params(sequences=sequences, align=align)
            starts.append(make_sequences(p, tokens.train, 64).starts(10**6, rows, 64))
            ids, _ = gather(tokens.train.tokens, starts[-1], 64)
            assert not ids.any()
    trainer = Trainer(tiny.make_model(), tiny.train_params(), tokens, tiny.FP32_ON_CPU)
    describe(trainer)
    trainer.train_step(0)
    trainer.validate()
    sample = StorySample(tokens.train, 0, 64, 48)  # a validation split of this size
    assert sample.tokens.tolist() == 48 * [STORY]
    return np.concatenate(starts)


@pytest.mark.torture
@pytest.mark.skipif(os.name == "nt", reason="files are not sparse on Windows")
def test_a_terabyte_opens_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / ".dvc").mkdir()
    tiny.write_store(tmp_path, train_stories=40, val_stories=16)
    write_terabyte(tmp_path)
    tracemalloc.start()
    try:
        tokens = open_tokens(tmp_path / "tokens", tmp_path / "tokenizer.json")
        starts = start_of_training(tokens)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(tokens.train.tokens) == SHARDS * TOKENS
    assert len(tokens.train.offsets) == SHARDS * TOKENS // STORY + 1
    assert len(np.unique(starts // TOKENS)) > SHARDS / 10  # from everywhere
    assert (starts[64:128] % STORY == 0).all()  # at stories
    assert peak < MOST
