"""Which tokenizers are of GPT-2's kind."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from tests.support import foreign, tiny
from tinylm.tokenizer.byte_level import unlike_gpt2
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS
from tinylm.train_tokenizer.training import train_bpe

OURS = train_bpe(tiny.stories(64), 280, 2)


def changed(change: Callable[[dict[str, Any]], object]) -> Tokenizer:
    config = json.loads(OURS.to_str())
    change(config)
    return Tokenizer.from_str(json.dumps(config))


def test_ours_is_and_so_is_one_with_more_special_tokens() -> None:
    more = Tokenizer.from_str(OURS.to_str())
    more.add_special_tokens(["<|pad|>"])
    assert unlike_gpt2(OURS) is None
    assert unlike_gpt2(more) is None


def test_a_renamed_end_of_text_and_an_unknown_token_that_no_text_needs_change_nothing() -> None:
    theirs = changed(lambda config: config["model"].update(unk_token="<|endoftext|>", fuse_unk=True))
    assert unlike_gpt2(with_end_of_text(theirs)) is None


DIFFERENCES: dict[str, Callable[[dict[str, Any]], object]] = {
    "BPE with dropout": lambda config: config["model"].update(dropout=0.5),
    "BPE with continuing_subword_prefix": lambda config: config["model"].update(
        continuing_subword_prefix="##", merges=[]
    ),
    "BPE with end_of_word_suffix": lambda config: config["model"].update(end_of_word_suffix="</w>"),
    "BPE with ignore_merges": lambda config: config["model"].update(ignore_merges=True),
    "a normalizer (NFC)": lambda config: config.update(normalizer={"type": "NFC"}),
    "another pre-tokenizer ({'add_prefix_space': True, ": lambda config: config["pre_tokenizer"].update(
        add_prefix_space=True
    ),
    "'use_regex': False})": lambda config: config["pre_tokenizer"].update(use_regex=False),
    "another pre-tokenizer ({'type': 'Whitespace'})": lambda config: config.update(
        pre_tokenizer={"type": "Whitespace"}
    ),
    "another pre-tokenizer ({})": lambda config: config.update(pre_tokenizer=None),
    "another decoder (None)": lambda config: config.update(decoder=None),
    "a vocabulary without 1 of the 256 bytes": lambda config: config["model"]["vocab"].pop(BYTE_SYMBOLS[0]),
    "an added token that depends on the text around it ('<|endoftext|>')": lambda config: config["added_tokens"][
        0
    ].update(rstrip=True),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_difference_that_may_change_ids_is_named(difference: str) -> None:
    assert difference in (unlike_gpt2(changed(DIFFERENCES[difference])) or "")


def test_other_models_are_named() -> None:
    unigram = Tokenizer(models.Unigram([("a", 0.0)], unk_id=0))
    assert unlike_gpt2(unigram) == "a model of the type Unigram"
    assert (unlike_gpt2(foreign.llama_tokenizer()) or "").startswith("a normalizer")
