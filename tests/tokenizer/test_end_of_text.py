"""A tokenizer from elsewhere gets our end-of-text token: its own, renamed, or a new one."""

import json

import pytest
from tokenizers import Tokenizer, models

from tests.support import foreign, tiny
from tinylm.base.errors import UserError
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.loading import END_OF_TEXT, end_of_text_id


def test_a_renamed_token_keeps_its_id_and_all_others_theirs() -> None:
    theirs, ours = foreign.llama_tokenizer(), with_end_of_text(foreign.llama_tokenizer(), "</s>")
    assert end_of_text_id(ours) == theirs.token_to_id("</s>") == 2
    assert ours.token_to_id("</s>") is None
    assert ours.get_vocab_size() == theirs.get_vocab_size()
    for story in tiny.stories(8):
        assert ours.encode(story).ids == theirs.encode(story, add_special_tokens=False).ids
        assert ours.decode(ours.encode(story).ids) == story
    assert ours.decode([2]) == ""


def test_without_a_name_the_token_is_new_unless_it_is_there() -> None:
    assert end_of_text_id(with_end_of_text(foreign.llama_tokenizer())) == foreign.llama_tokenizer().get_vocab_size()
    has_one = with_end_of_text(foreign.llama_tokenizer(), "</s>")
    assert end_of_text_id(with_end_of_text(has_one)) == end_of_text_id(with_end_of_text(has_one, END_OF_TEXT)) == 2


def test_a_token_of_the_vocabulary_alone() -> None:
    """Not every file lists its end of text among the added tokens; Unigram lists its vocabulary in another form."""
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("a", -1.0)], unk_id=0))
    words = Tokenizer(models.WordLevel({"</s>": 1, "a": 0}, unk_token="</s>"))
    for tokenizer in (unigram, words):
        ours = with_end_of_text(tokenizer, "</s>")
        assert end_of_text_id(ours) == 1
        assert ours.encode(f"a{END_OF_TEXT}").ids[-1] == 1
    assert json.loads(with_end_of_text(words, "</s>").to_str())["model"]["unk_token"] == END_OF_TEXT


def test_an_unknown_token_is_refused() -> None:
    with pytest.raises(UserError, match=r"the tokenizer has no token '<end>'; its tokenizer\.json lists them"):
        with_end_of_text(foreign.llama_tokenizer(), "<end>")


def test_a_second_end_of_text_is_refused() -> None:
    ours = with_end_of_text(foreign.llama_tokenizer(), "</s>")
    with pytest.raises(UserError, match=r"the tokenizer has <\|endoftext\|>, which ends a text; leave '<s>' out"):
        with_end_of_text(ours, "<s>")
