"""Cleaning, duplicates, and which stories are held out."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.corpus.storage import read_stories
from tinylm.download.cleaning import END_OF_TEXT, clean, remove_control_characters
from tinylm.download.digests import DigestSet
from tinylm.download.sources import Source
from tinylm.download.split import Story, Tally, split, write_corpus
from tinylm.tokenizer import loading

PIECES = st.lists(st.sampled_from(["A tree.", "b", END_OF_TEXT, " ", "\n", "\r\n", "\r", "\ufeff", "é", "<|end"]))
RAW = PIECES.map("".join)


def source(train: Sequence[str], val: Sequence[str] | None = None) -> Source:
    return Source("files", list(train), None if val is None else list(val), {}, "give more text")


def run(
    train: Sequence[str], val: Sequence[str] | None = None, fraction: float = 0.3, seed: int = 0, **changes: Any
) -> tuple[list[str], list[str], Tally, Tally]:
    """Return training stories, validation stories, and the counts of both splits of the source."""
    tallies = Tally(), Tally()
    params = tiny.download_params(val_fraction=fraction, seed=seed, **{"remove_control_characters": False} | changes)
    stories = list(split(source(train, val), params, *tallies))
    sides = ([story.text.decode() for story in stories if story.side == side] for side in ("train", "val"))
    return *sides, *tallies  # type: ignore[return-value]


def dropped(tally: Tally) -> tuple[int, int, int]:
    return tally.dropped.empty, tally.dropped.duplicate, tally.dropped.in_validation


@pytest.mark.parametrize(
    ("raw", "stories"),
    [
        ("Once.", ["Once."]),
        ("  Once.\n\n  Then.\t\n", ["Once.\n\n  Then."]),
        ("One.\r\nTwo.\rThree.\n", ["One.\nTwo.\nThree."]),
        ("\ufeffOnce.", ["Once."]),
        ("\ufeff \ufeff\nOnce.\ufeff\n\ufeff", ["Once."]),
        ("On\ufeffce.", ["On\ufeffce."]),
        ("One.<|endoftext|>\nTwo.<|endoftext|>", ["One.", "Two."]),
        ("<|endoftext|> \n<|endoftext|>", []),
        (" \u00a0\u3000\n", []),
        ("", []),
    ],
)
def test_clean(raw: str, stories: list[str]) -> None:
    assert clean(raw) == stories


@settings(deadline=None)
@given(RAW | st.text())
def test_clean_stories_are_stripped_without_special_tokens_and_cleaning_is_idempotent(raw: str) -> None:
    for story in clean(raw):
        assert story
        assert END_OF_TEXT not in story
        assert "\r" not in story
        assert clean(story) == [story]


def test_end_of_text_is_that_of_the_tokenizer() -> None:
    assert END_OF_TEXT == loading.END_OF_TEXT


@settings(deadline=None)
@given(st.lists(st.integers(0, 40)))
def test_a_digest_set_is_a_set(numbers: list[int]) -> None:
    ours, theirs = DigestSet(), set[bytes]()
    for number in numbers:
        # 5 values of the first two bytes, so that buckets fill
        digest = bytes([0, number % 5]) + hashlib.blake2b(bytes([number]), digest_size=14).digest()
        assert (digest in ours) == (digest in theirs)
        assert ours.add(digest) == (digest not in theirs)
        theirs.add(digest)
        assert digest in ours
        assert len(ours) == len(theirs)


@settings(deadline=None)
@given(st.lists(RAW, max_size=30), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_keeps_each_different_story_once_and_counts_the_rest(raw: list[str], f: float, seed: int) -> None:
    train, val, tally, no_tally = run(raw, fraction=f, seed=seed)
    cleaned = [story for text in raw for story in clean(text)]
    assert sorted(train + val) == sorted(set(cleaned))
    assert tally.read == len(raw)
    assert tally.read + tally.added_by_cutting == len(train + val) + sum(dropped(tally))
    assert tally.dropped.empty == sum(not clean(text) for text in raw)
    assert tally.dropped.duplicate == len(cleaned) - len(set(cleaned))
    assert no_tally == Tally()
    assert bool(val) == bool(cleaned)


@settings(deadline=None)
@given(st.sets(st.text("abc", min_size=1), min_size=1, max_size=40), st.sets(st.text("abc", min_size=1), max_size=40))
def test_more_text_moves_no_existing_story(first: set[str], more: set[str]) -> None:
    """Except the single story held out when no other is."""
    before, after = run(sorted(first)), run(sorted(first) + sorted(more))
    moved = [story for story in before[0] if story in after[1]] + [story for story in before[1] if story in after[0]]
    assert len(moved) <= (len(before[1]) == 1)


@settings(deadline=None)
@given(st.lists(st.text("abcdef", min_size=1), min_size=1, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_change_the_split(stories: list[str], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(stories, len(stories))
    assert [sorted(side) for side in run(stories)[:2]] == [sorted(side) for side in run(shuffled)[:2]]


def test_the_held_out_fraction_is_as_configured_and_depends_on_the_seed() -> None:
    stories = [f"story {n}" for n in range(20_000)]
    held_out = [set(run(stories, fraction=0.02, seed=seed)[1]) for seed in (1, 2)]
    for side in held_out:
        assert 320 < len(side) < 480  # 400, plus or minus four standard deviations
    assert len(held_out[0] & held_out[1]) < 30
    assert held_out[0] == set(run(stories, fraction=0.02, seed=1)[1])


def test_stories_keep_the_order_of_the_source() -> None:
    stories = [f"story {n}" for n in range(1000)]
    train, val, *_ = run(stories, fraction=0.5)
    assert train == [story for story in stories if story in set(train)]
    assert val == [story for story in stories if story in set(val)]


@settings(deadline=None)
@given(st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=20, unique=True), st.integers(0, 3))
def test_one_story_is_held_out_if_the_fraction_holds_out_none(stories: list[str], seed: int) -> None:
    train, val, *_ = run(stories, fraction=1e-12, seed=seed)
    assert len(val) == 1
    assert sorted(train + val) == sorted(stories)
    for fraction in (0.1, 0.4, 0.7):  # the first that a larger fraction holds out
        assert val[0] in run(stories, fraction=fraction, seed=seed)[1]


@settings(deadline=None)
@given(st.lists(RAW, max_size=30), st.lists(RAW, max_size=10))
def test_official_validation_stories_are_kept_and_leave_training(raw: list[str], raw_val: list[str]) -> None:
    train, val, tally, val_tally = run(raw, raw_val)
    in_train = {story for text in raw for story in clean(text)}
    in_val = {story for text in raw_val for story in clean(text)}
    assert sorted(val) == sorted(in_val)
    assert sorted(train) == sorted(in_train - in_val)
    assert tally.read + tally.added_by_cutting == len(train) + sum(dropped(tally))
    assert val_tally.read + val_tally.added_by_cutting == len(val) + sum(dropped(val_tally))
    assert tally.dropped.in_validation == sum(story in in_val for text in raw for story in clean(text))


def test_every_reason_is_counted_separately() -> None:
    train, val, tally, val_tally = run(
        ["one", " ", "two", "one", "three", "four<|endoftext|>five", "three"], ["three", "three ", ""]
    )
    assert (train, val) == (["one", "two", "four", "five"], ["three"])
    assert (tally.read, tally.added_by_cutting, dropped(tally)) == (7, 1, (1, 1, 2))
    assert (val_tally.read, val_tally.added_by_cutting, dropped(val_tally)) == (3, 0, (1, 1, 0))


EVERYTHING = ["", "one", "one", "sâ€™il", "t\x00wo", "three", " ", "on", "\x07"]


@pytest.mark.parametrize(
    ("change", "train", "counts"),
    [
        ({}, ["one", "s’il", "two", "on"], {"empty": 3, "duplicate": 1, "in_validation": 1}),
        ({"drop_empty": False}, ["", "one", "s’il", "two", "on"], {"duplicate": 3, "in_validation": 1}),
        ({"drop_duplicates": False}, ["one", "one", "s’il", "two", "on"], {"empty": 3, "in_validation": 1}),
        ({"drop_validation_from_train": False}, ["one", "s’il", "two", "three", "on"], {"empty": 3, "duplicate": 1}),
        ({"min_chars": 3}, ["one", "s’il", "two"], {"empty": 3, "too_short": 1, "duplicate": 1, "in_validation": 1}),
        ({"repair_mojibake": False}, ["one", "sâ€™il", "two", "on"], {"empty": 3, "duplicate": 1, "in_validation": 1}),
        (
            {"remove_control_characters": False},
            ["one", "s’il", "t\x00wo", "on", "\x07"],
            {"empty": 2, "duplicate": 1, "in_validation": 1},
        ),
    ],
)
def test_every_repair_and_every_reason_can_be_switched(
    change: dict[str, Any], train: list[str], counts: dict[str, int]
) -> None:
    got, _, tally, _ = run(EVERYTHING, ["three"], **{"remove_control_characters": True} | change)
    assert got == train
    assert {reason: count for reason, count in asdict(tally.dropped).items() if count} == counts
    assert tally.repaired.mojibake == change.get("repair_mojibake", True)
    assert tally.repaired.control_characters == 2 * change.get("remove_control_characters", True)


def test_the_shortest_story_is_counted_in_characters() -> None:
    """Four characters of two to four bytes each count as four."""
    train, _, tally, _ = run(["abcd", "abcde", "éééé", "ééééé", "😀😀😀😀", "😀😀😀😀😀"], ["val"], min_chars=5)
    assert train == ["abcde", "ééééé", "😀😀😀😀😀"]
    assert tally.dropped.too_short == 3


def test_kept_duplicates_stay_in_one_split() -> None:
    stories = ["one", "two", "one", "three", "two"] * 2
    for seed in range(20):
        train, val, *_ = run(stories, fraction=1e-12, seed=seed, drop_duplicates=False)
        assert not set(train) & set(val)
        assert sorted(train + val) == sorted(stories)


@pytest.mark.parametrize(
    ("text", "clean_text"),
    [
        ("a\tb\r\nc\nd", "a\tb\r\nc\nd"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("one\x0btwo\x0cthree\x85four\x1efive", "one\ntwo\nthree\nfour\nfive"),
        ("On\ufeffce", "Once"),
        ("漢字 😀\u200d é\xa0ü", "漢字 😀\u200d é\xa0ü"),
    ],
)
def test_control_characters(text: str, clean_text: str) -> None:
    assert remove_control_characters(text) == clean_text


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0x2FF) | st.sampled_from("\ufeff😀\u2028")))
def test_no_control_character_is_left(text: str) -> None:
    left = remove_control_characters(text)
    assert all(c in "\t\n\r" or (unicodedata.category(c) != "Cc" and c != "\ufeff") for c in left)
    kept = [c for c in text if c in "\t\n\r" or (unicodedata.category(c) != "Cc" and c != "\ufeff")]
    assert [c for c in left if c != "\n"] == [c for c in kept if c != "\n"]


def test_stories_are_streamed() -> None:
    """The corpus may be larger than memory."""
    endless = Source("sample", (f"story {n}" for n in range(10**12)), None, {}, "")
    stories = split(endless, tiny.download_params(), Tally(), Tally())
    assert isinstance(next(stories), Story)


@pytest.mark.parametrize(
    ("train", "val", "fraction", "message"),
    [
        ([], None, 0.1, "files: expected at least 2 different stories, .*, got 0: of 0 read, none were dropped; give"),
        (["one", " one\n", "\r\none"], None, 0.1, "files: expected at least 2 different stories, .*, got 1"),
        (["one", "two"], None, 1 - 1e-15, "download.val_fraction: .* got 0.99.* holds out all 2; lower it"),
        (["one"], ["one"], 0.1, "files: expected at least 2 different stories, .*, got 1"),
        (
            ["one", "two", ""],
            ["one", "two"],
            0.1,
            "training stories, got none: of 3 read, 1 empty, 2 in validation were",
        ),
        (
            ["one", "two"],
            ["\ufeff"],
            0.1,
            "validation stories, got none: of 1 read, 1 empty were dropped",
        ),
    ],
)
def test_an_empty_split_is_an_error_and_writes_nothing(
    tmp_path, train: list[str], val: list[str] | None, fraction: float, message: str
) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        write_corpus(source(train, val), tiny.download_params(val_fraction=fraction), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("train", "val"), [(["one", "two", "", "6"], None), (["one", "two"], ["a long story"]), (["a long story"], ["six"])]
)
def test_the_error_for_too_short_stories_names_the_limit(tmp_path, train: list[str], val: list[str] | None) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"\d too short were dropped; lower download.min_chars, which is 5$"):
        write_corpus(source(train, val), tiny.download_params(min_chars=5, val_fraction=0.5), tmp_path)


def test_an_error_while_reading_leaves_the_old_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    write_corpus(source(["one", "two", "three"]), tiny.download_params(val_fraction=0.5), tmp_path)
    old = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted():  # type: ignore[no-untyped-def]
        yield from (f"story {n}" for n in range(10_000))
        raise UserError("the connection was lost")

    with pytest.raises(UserError, match="the connection was lost"):
        write_corpus(Source("files", interrupted(), None, {}, ""), tiny.download_params(), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_counts_are_those_of_the_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    stories = [f"Geschichte {n} für dich" for n in range(5000)] * 2
    counts = write_corpus(source(stories), tiny.download_params(val_fraction=0.1), tmp_path)
    for side in ("train", "val"):
        stories = list(read_stories(tmp_path / f"{side}.parquet"))
        assert counts[side] == {"stories": len(stories), "bytes": sum(len(story.encode()) for story in stories)}
    assert counts["train"]["stories"] + counts["val"]["stories"] == 5000
    assert counts["read"] == {"train": 10_000, "val": 0}
    assert counts["dropped"]["train"] == {"empty": 0, "too_short": 0, "duplicate": 5000, "in_validation": 0}
    assert counts["repaired"]["train"] == {"mojibake": 0, "control_characters": 0}
