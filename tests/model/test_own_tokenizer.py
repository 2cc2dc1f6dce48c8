"""A model folder tells which token ends a story, or the user does."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import foreign
from tinylm.base.errors import UserError
from tinylm.model.own_tokenizer import load_own_tokenizer
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer


@pytest.mark.parametrize(
    "ids",
    [
        {"bos_token_id": None, "eos_token_id": 2},
        {"bos_token_id": 2, "eos_token_id": 2},
        {"bos_token_id": 2, "eos_token_id": [2]},
        {"bos_token_id": 9999, "eos_token_id": 2},  # a default that the tokenizer does not have
    ],
)
def test_the_only_token_that_the_folder_names(ids: dict[str, Any], tmp_path: Path) -> None:
    foreign.write_llama(tmp_path, **ids)
    (tmp_path / "generation_config.json").unlink()
    assert end_of_text_id(load_own_tokenizer(tmp_path)) == 2


def test_two_tokens_are_a_question_to_the_user(tmp_path: Path) -> None:
    foreign.write_llama(tmp_path)
    with pytest.raises(UserError, match="expected one token that ends a story, got '<s>' and '</s>'; name the one"):
        load_own_tokenizer(tmp_path)
    assert end_of_text_id(load_own_tokenizer(tmp_path, "<s>")) == 1
    assert end_of_text_id(load_own_tokenizer(tmp_path, "</s>")) == 2


def test_no_candidate_is_refused(tmp_path: Path) -> None:
    foreign.write_llama(tmp_path, bos_token_id=None, eos_token_id=None)
    (tmp_path / "generation_config.json").unlink()
    with pytest.raises(UserError, match="got no candidate; .*--end-of-text TOKEN"):
        load_own_tokenizer(tmp_path)


def test_our_own_tokenizer_is_unchanged(tiny_model: Path) -> None:
    assert load_own_tokenizer(tiny_model).to_str() == load_tokenizer(tiny_model / "tokenizer.json").to_str()


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    foreign.make("llama").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json: not found; AutoTokenizer.*writes it"):
        load_own_tokenizer(tmp_path)
