"""BPE from word counts learns exactly what the tokenizers library learns from the text."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.support import tiny
from tinylm.tokenizer.loading import END_OF_TEXT
from tinylm.train_tokenizer import bpe
from tinylm.train_tokenizer.bpe import learn_merges
from tinylm.train_tokenizer.counting import count_words_of
from tinylm.train_tokenizer.training import train_bpe


def library(stories: list[str], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Return the tokenizer that the library trains."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer)
    return tokenizer


FEW_SYMBOLS = [st.text(symbols, max_size=60) for symbols in ("a", "ab", "aab c", "abc \n", "aé ñb🙂", "abcdef'st ")]


@given(
    st.lists(st.one_of(*FEW_SYMBOLS), min_size=1, max_size=8),
    st.sampled_from([257, 260, 275, 400]),
    st.integers(1, 3),
)
def test_vocabulary_and_merges_are_those_of_the_library(
    stories: list[str], vocab_size: int, min_frequency: int
) -> None:
    """Few symbols make ties, overlapping pairs, and tokens that several pairs make."""
    theirs = json.loads(library(stories, vocab_size, min_frequency).to_str())["model"]
    vocabulary, merges = learn_merges(count_words_of(stories), vocab_size, min_frequency, [END_OF_TEXT])
    assert vocabulary == theirs["vocab"]
    assert merges == list(map(tuple, theirs["merges"]))


@pytest.mark.parametrize(("vocab_size", "min_frequency"), [(257, 2), (600, 1), (2000, 2), (2000, 50)])
def test_the_tokenizer_has_the_bytes_of_the_librarys(vocab_size: int, min_frequency: int) -> None:
    stories = tiny.stories(512)
    theirs = library(stories, vocab_size, min_frequency)
    ours = train_bpe(stories, theirs.get_vocab_size(), min_frequency)
    assert ours.to_str() == theirs.to_str()


def test_merges_visit_only_the_places_of_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that looked at whole words would take hours for a megabyte without spaces."""
    visited = 0
    merge = bpe._Symbols.merge

    def count(self: bpe._Symbols, pair: bpe.Pair, new: int, places: bpe.Places) -> dict[bpe.Pair, bpe.Places]:
        nonlocal visited
        visited += len(places)
        return merge(self, pair, new, places)

    monkeypatch.setattr(bpe._Symbols, "merge", count)
    word = bytes(random.Random(1).choices(b"abcdefgh", k=20_000))
    _, merges = learn_merges({word: 3}, 1000, 2, [END_OF_TEXT])
    assert len(merges) == 743
    assert visited < 3 * len(word)
