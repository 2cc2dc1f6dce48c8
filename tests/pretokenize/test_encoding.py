"""The fast encoder gives exactly the ids of Tokenizer.encode."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests.support import tiny
from tinylm.download.plain_text import read_txt
from tinylm.pretokenize import encoding
from tinylm.pretokenize.encoding import LibraryEncoder, PieceEncoder, cuts_at_spaces, make_encoder
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokens.description import id_type
from tinylm.train_tokenizer.training import train_bpe

TOKENIZER = train_bpe(tiny.stories(512), 380, 2)
ENCODER = make_encoder(TOKENIZER)  # shared by all tests: the contents of its cache must not matter
SPACES = " \n\t\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u180e\u2003\u2028\u200b\u202f\u3000\ufeff"
TEXTS = st.lists(
    st.text()
    | st.text(SPACES, max_size=4)
    | st.sampled_from(["Tom", "'s", "don't", ".", '"', "12", "é", "😀", "  ", " a"])
).map("".join)


def plain(tokenizer: Tokenizer, stories: Sequence[str]) -> list[list[int]]:
    end = end_of_text_id(tokenizer)
    return [[*tokenizer.encode(story, add_special_tokens=False).ids, end] for story in stories]


def encode(encoder: encoding.Encoder, stories: Sequence[str], dtype: str = "<u2") -> list[list[int]]:
    return [np.frombuffer(ids, dtype).tolist() for ids in encoder.encode([story.encode() for story in stories])]


@settings(deadline=None, max_examples=500)
@given(st.lists(TEXTS, max_size=5))
@example(["", " ", "  ", "a ", " a", "a  b", "a   b", "a \n b", "\n  a", "a\n \n b c ", "a\xa0 \xa0b", "x \x1c y"])
def test_the_ids_are_those_of_the_library(stories: list[str]) -> None:
    assert isinstance(ENCODER, PieceEncoder)
    assert encode(ENCODER, stories) == plain(TOKENIZER, stories)
    assert encode(LibraryEncoder(TOKENIZER), stories) == plain(TOKENIZER, stories)


@settings(deadline=None, max_examples=300)
@given(st.text(f"{SPACES}a."))
def test_white_space_of_every_kind(story: str) -> None:
    assert encode(ENCODER, [story]) == plain(TOKENIZER, [story])


def test_every_character_beside_a_space() -> None:
    """Would detect white space on which Python and the tokenizers library disagree."""
    stories = [f"a{chr(c)} {chr(c)}b".encode() for c in range(0x10000) if not 0xD800 <= c < 0xE000]
    assert PieceEncoder(TOKENIZER).encode(stories) == LibraryEncoder(TOKENIZER).encode(stories)


def test_a_small_cache_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CACHE_SIZE", 5)
    monkeypatch.setattr(encoding, "LONGEST_CACHED", 4)
    stories = tiny.stories(64)
    encoder = PieceEncoder(TOKENIZER)
    assert encode(encoder, stories) == plain(TOKENIZER, stories)
    assert len(encoder._others) <= 5
    assert max(map(len, encoder._others)) <= 4


def test_text_that_is_not_utf8_is_refused() -> None:
    for encoder in (ENCODER, LibraryEncoder(TOKENIZER)):
        with pytest.raises(UnicodeDecodeError):
            encoder.encode([b"Once upon \xff a time"])


def variant(**changes: object) -> Tokenizer:
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def with_added(token: AddedToken | str) -> Tokenizer:
    tokenizer = variant()
    tokenizer.add_tokens([token])
    return tokenizer


HAZARDS = {
    "prefix space": variant(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "no pattern": variant(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    "white space": variant(pre_tokenizer=pre_tokenizers.Whitespace()),
    "no pre-tokenizer": variant(pre_tokenizer=None),
    "normalizer": variant(normalizer=normalizers.Lowercase()),
    "added words": with_added("upon a"),
    "added, takes white space before it": with_added(AddedToken("<b>", lstrip=True)),
    "added, takes white space behind it": with_added(AddedToken("<b>", rstrip=True)),
    "added, whole words": with_added(AddedToken("upon", single_word=True)),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_a_tokenizer_that_looks_across_spaces_uses_the_library_encoder(name: str) -> None:
    tokenizer = HAZARDS[name]
    assert not cuts_at_spaces(tokenizer)
    assert isinstance(make_encoder(tokenizer), LibraryEncoder)
    stories = ["Once upon a time  <b>  Tom", " upon"]
    assert encode(make_encoder(tokenizer), stories) == plain(tokenizer, stories)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<b>", " ", "  ", "\n", "a", "upon", "<|endoftext|>", "."])).map("".join))
def test_other_added_tokens_are_found_in_their_piece(story: str) -> None:
    tokenizer = with_added("<b>")
    assert cuts_at_spaces(tokenizer)
    assert encode(PieceEncoder(tokenizer), [story]) == plain(tokenizer, [story])


def test_large_vocabularies_have_ids_of_four_bytes() -> None:
    tokenizer = variant()
    tokenizer.add_tokens([f"<{n}>" for n in range(65_300)])
    assert id_type(tokenizer.get_vocab_size()) == np.dtype("<u4")
    encoder = make_encoder(tokenizer)
    assert encoder.itemsize == 4
    assert encode(encoder, ["<65299> a"], "<u4") == plain(tokenizer, ["<65299> a"])


def test_ids_have_two_bytes_up_to_a_vocabulary_of_65536() -> None:
    tokenizer = variant()
    tokenizer.add_tokens([f"<{n}>" for n in range(65_536 - tokenizer.get_vocab_size())])
    assert tokenizer.get_vocab_size() == 65_536
    assert id_type(tokenizer.get_vocab_size()) == np.dtype("<u2")
    last = tokenizer.id_to_token(65_535)
    assert encode(make_encoder(tokenizer), [last]) == [[65_535, end_of_text_id(tokenizer)]]
    tokenizer.add_tokens(["one more"])
    assert id_type(tokenizer.get_vocab_size()) == np.dtype("<u4")


def test_real_stories() -> None:
    real = tiny.ROOT.parent / "shared" / "tinystories" / "train.txt"
    if not real.is_file():
        pytest.skip("real stories are not beside the repository (../shared/tinystories)")
    stories = list(itertools.islice(read_txt(real, real.name, "endoftext"), 3000))
    tokenizer = train_bpe(stories[:1000], 2000, 2)
    encoder = make_encoder(tokenizer)
    assert isinstance(encoder, PieceEncoder)
    assert encode(encoder, stories) == plain(tokenizer, stories)


def test_real_stories_with_gpt2s_vocabulary() -> None:
    shared = tiny.ROOT.parent / "shared"
    if not (shared / "gpt2").is_dir() or not (shared / "tinystories").is_dir():
        pytest.skip("GPT-2's files and real stories are not beside the repository (../shared)")
    tokenizer = Tokenizer(models.BPE.from_file(str(shared / "gpt2/vocab.json"), str(shared / "gpt2/merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    stories = list(read_txt(shared / "tinystories/valid.txt", "valid.txt", "endoftext"))
    assert encode(make_encoder(tokenizer), stories) == plain(tokenizer, stories)
