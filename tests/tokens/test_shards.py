"""A split in shards: however it is cut, it reads as one file does, and training takes the same batches from it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.evaluate.outputs import classify
from tinylm.scoring.windows import plan_windows, read_windows
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.description import ShardInfo, SplitInfo
from tinylm.tokens.shards import ShardedArray
from tinylm.tokens.store import TokenSplit, TokenStore, open_tokens
from tinylm.train.batches import RandomSequences, ResidentTokens, StridedSequences, gather, starts_with_room
from tinylm.train.step import Trainer
from tinylm.train.validation import StorySample


@dataclass(frozen=True)
class Cut:
    """A split as one stream, and the same in shards."""

    whole: TokenSplit
    shards: TokenSplit


def cut_array(array: NDArray[Any], borders: list[int], added: NDArray[Any] | None = None) -> ShardedArray:
    """Cut an array before `borders`; the shards have its numbers less those `added`, one for each shard."""
    parts = np.split(array, borders)
    stored = [part if added is None else part - added[shard] for shard, part in enumerate(parts)]
    return ShardedArray(array.dtype, [len(part) for part in parts], stored.__getitem__, added)  # type: ignore[arg-type]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=30).filter(lambda found: sum(found) > 40))
    text_lengths = [draw(st.integers(0, 200)) for _ in lengths]
    ids = np.random.default_rng(draw(st.integers(0, 9))).integers(300, size=sum(lengths)).astype("<u2")
    offsets, text_offsets = (np.cumsum([0, *counts]).astype("<u8") for counts in (lengths, text_lengths))
    stories = sorted(draw(st.sets(st.integers(1, len(lengths) - 1), max_size=6))) if len(lengths) > 1 else []
    first = [0, *stories]  # stories of the shards
    info = SplitInfo(len(ids), len(lengths), int(text_offsets[-1]), lossless=True)
    return Cut(
        TokenSplit("train", ids, offsets, text_offsets, info),
        TokenSplit(
            "train",
            cut_array(ids, offsets[stories].tolist()),
            cut_array(offsets, stories, offsets[first]),
            cut_array(text_offsets, stories, text_offsets[first]),
            info,
        ),
    )


@given(st.lists(st.integers(0, 999), max_size=40), st.data())
def test_an_array_in_shards_is_read_like_an_array(numbers: list[int], data: st.DataObject) -> None:
    array = np.array(numbers, "<u2")
    borders = sorted(data.draw(st.lists(st.integers(0, len(array)), max_size=6)))
    sharded = cut_array(array, borders)
    assert (len(sharded), sharded.dtype, sharded.nbytes) == (len(array), array.dtype, array.nbytes)
    first, stop = data.draw(st.tuples(*2 * [st.integers(-50, 50) | st.none()]))
    part, view = array[first:stop], sharded[first:stop]
    for expected, found in ((array, sharded), (part, view), (part[1:], view[1:])):
        assert np.asarray(found).tolist() == expected.tolist()
        if len(expected):
            indices = st.lists(st.integers(-len(expected), len(expected) - 1), max_size=20)
            index = np.array(data.draw(indices), np.int64)
            assert found[index].tolist() == expected[index].tolist()
            assert found[index.reshape(1, -1, 1)].shape == (1, len(index), 1)
            assert found[0] == expected[0]
            assert found[-1] == expected[-1]


@pytest.mark.parametrize("index", [5, -6, np.array([0, 5])])
def test_an_index_outside(index: Any) -> None:
    sharded = cut_array(np.arange(6, dtype="<u2"), [2, 4])[:5]
    with pytest.raises(IndexError, match="expected indices of an array of 5 numbers"):
        sharded[index]


def test_a_slice_with_a_step() -> None:
    with pytest.raises(IndexError, match="expected a slice without a step"):
        cut_array(np.arange(6, dtype="<u2"), [2])[::2]


def test_only_the_shards_that_are_read_are_opened() -> None:
    opened: list[int] = []

    def open_shard(shard: int) -> NDArray[Any]:
        opened.append(shard)
        return np.full(10, shard, "<u2")

    array = ShardedArray(np.dtype("<u2"), 5 * [10], open_shard)
    assert array[15:30][np.array([0, 5, 1])].tolist() == [1, 2, 1]
    assert sorted(opened) == [1, 2]


@given(cuts(), st.integers(32, 40), st.integers(1, 70))
def test_training_takes_the_same_batches(cut: Cut, context: int, stride: int) -> None:
    tokens, rows = len(cut.whole.tokens), np.arange(5, dtype=np.uint64)
    context = min(context, tokens - 1)
    aligned = [starts_with_room(split.offsets, tokens, context) for split in (cut.whole, cut.shards)]
    assert np.asarray(aligned[0]).tolist() == np.asarray(aligned[1]).tolist()
    makers: list[Callable[[Any], RandomSequences | StridedSequences]] = [
        lambda starts: RandomSequences(tokens, context, 1, starts),
        lambda starts: StridedSequences(tokens, context, 1, stride, starts),
    ]
    for make in makers:
        for expected, found in ((make(None), make(None)), (make(aligned[0]), make(aligned[1]))):
            assert found.per_epoch == expected.per_epoch
            for step in range(3):
                starts = expected.starts(step, rows, 5)
                assert found.starts(step, rows, 5).tolist() == starts.tolist()
                batches = gather(cut.whole.tokens, starts, context), gather(cut.shards.tokens, starts, context)
                for one, other in zip(*batches, strict=True):
                    assert one.dtype == other.dtype
                    assert one.tolist() == other.tolist()


@given(cuts(), st.integers(1, 64), st.none() | st.integers(1, 30))
def test_validation_takes_the_same_sample(cut: Cut, context: int, most: int | None) -> None:
    one, other = (StorySample(split, 7, context, most) for split in (cut.whole, cut.shards))
    assert vars(one).keys() == vars(other).keys()
    for name in vars(one).keys() - {"_ids"}:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert cut.whole.story_tokens.tolist() == cut.shards.story_tokens.tolist()
    assert cut.whole.story_bytes is not None
    assert cut.shards.story_bytes is not None
    assert cut.whole.story_bytes.tolist() == cut.shards.story_bytes.tolist()
    length = min(context, len(cut.whole.tokens))
    starts, _ = plan_windows(len(cut.whole.tokens), length, 16)
    windows = [read_windows(split.tokens, starts, length, 7) for split in (cut.whole, cut.shards)]
    assert all(a.tolist() == b.tolist() for a, b in zip(*windows, strict=True))


def test_tokens_on_a_device(tiny_tokens: TokenStore) -> None:
    ids = np.asarray(tiny_tokens.val.tokens)
    resident = [ResidentTokens(tokens, tiny.FP32_ON_CPU.device) for tokens in (ids, cut_array(ids, [5, 100]))]
    assert resident[0].tokens.tolist() == resident[1].tokens.tolist()


@pytest.fixture(scope="module")
def sharded_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny store in shards, of the validation split too."""
    folder = tmp_path_factory.mktemp("shards")
    tiny.write_store(folder, shards=3)
    return folder


def open_store(folder: Path) -> TokenStore:
    return open_tokens(folder / "tokens", folder / "tokenizer.json")


def test_a_store_in_shards_is_that_of_one_file(sharded_store: Path, tiny_tokens: TokenStore) -> None:
    tokens = open_store(sharded_store)
    for one, other in ((tiny_tokens.train, tokens.train), (tiny_tokens.val, tokens.val)):
        assert isinstance(other.tokens, ShardedArray)
        for name in ("tokens", "offsets", "text_offsets"):
            assert np.asarray(getattr(one, name)).tolist() == np.asarray(getattr(other, name)).tolist()
        assert one.bytes_per_token == other.bytes_per_token
    tokenizer = load_tokenizer(sharded_store / "tokenizer.json")
    kinds = [classify(store.val.tokens, tokenizer).tolist() for store in (tiny_tokens, tokens)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("align", ["none", "story"])
def test_training_on_shards_gives_the_same_losses(sharded_store: Path, tiny_tokens: TokenStore, align: str) -> None:
    losses = []
    for tokens in (tiny_tokens, open_store(sharded_store)):
        trainer = Trainer(tiny.make_model(), tiny.train_params(align=align), tokens, tiny.FP32_ON_CPU)
        losses.append([*(trainer.train_step(step)[0].item() for step in range(2)), trainer.validate().loss])
    assert losses[0] == losses[1]


def alter_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "tokens/tokens.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    change(description["splits"]["train"])
    path.write_text(json.dumps(description), encoding="utf-8")


def test_a_store_in_shards_has_a_version_that_older_code_refuses(sharded_store: Path, tiny_store: Path) -> None:
    versions = [
        json.loads((folder / "tokens/tokens.json").read_bytes())["version"] for folder in (tiny_store, sharded_store)
    ]
    assert versions == [2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split: split["shards"].pop(), "splits.train.tokens: expected the sum of its shards"),
        (lambda split: split.update(shards=[]), "splits.train.tokens: expected the sum of its shards, 0"),
        (lambda split: split.pop("shards"), "splits.train: expected three checksums, or shards"),
        (lambda split: split["shards"].reverse(), r"train-00000-of-\d+\.bin: "),
    ],
)
def test_a_description_that_contradicts_itself(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    tiny.write_store(tmp_path, train_stories=40, val_stories=8, shards=3)
    alter_description(tmp_path, change)
    with pytest.raises(UserError, match=message):
        open_store(tmp_path)


def test_an_altered_shard(tmp_path: Path) -> None:
    tiny.write_store(tmp_path, train_stories=40, val_stories=8, shards=3)
    path = min((tmp_path / "tokens").glob("train-00001-of-?????.bin"))
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-00001-of-\d+\.bin: altered since it was written"):
        open_store(tmp_path)


def test_files_of_a_split_are_described_by_name() -> None:
    shards = tuple(ShardInfo(tokens, 1, 4, "a", "b", "c") for tokens in (5, 6))
    split = SplitInfo(11, 2, 8, lossless=True, shards=shards)
    assert split.files("val") == dict(zip(["val-00000-of-00002", "val-00001-of-00002"], shards, strict=True))
    one = SplitInfo(11, 2, 8, "a", "b", "c", lossless=True)
    assert one.files("val") == {"val": ShardInfo(11, 2, 8, "a", "b", "c")}
    assert (one.digest, split.digest) == ("a", hashlib.sha256(b"a\na\n").hexdigest())
