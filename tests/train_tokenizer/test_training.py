"""Byte-level BPE: every text survives the round trip, and the vocabulary has the requested size."""

import json
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tests.support import foreign, tiny
from tinylm.base.errors import UserError
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.loading import END_OF_TEXT, end_of_text_id, load_tokenizer
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS
from tinylm.train_tokenizer.params import TrainTokenizerParams
from tinylm.train_tokenizer.training import make_tokenizer, train_bpe
from tinylm.workers.processes import LocalWorkers

TOKENIZER = train_bpe(tiny.stories(256), 350, 2)


def ask(**changes: object) -> TrainTokenizerParams:
    return TrainTokenizerParams(**tiny.PARAMS[TrainTokenizerParams].model_dump() | changes)


@given(st.text())
@example("😀 naïve 漢字かな 한국어 \x00\x07\x1b\r\n\t  \u200b\u2028 ﷽ e\u0301")
@example("  two  spaces   and\n\n\nlines ")
def test_every_text_survives_the_round_trip(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    if END_OF_TEXT not in text:
        assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_all_bytes_are_in_the_vocabulary() -> None:
    ids = [TOKENIZER.encode(chr(byte)).ids for byte in range(128)]
    assert all(len(found) == 1 for found in ids)
    assert len({found[0] for found in ids}) == 128
    assert len(TOKENIZER.encode("\U0010ffff").ids) == 4  # an unseen character is encoded as its four bytes


def test_the_vocabulary_has_the_requested_size() -> None:
    assert TOKENIZER.get_vocab_size() == 350


def test_end_of_text_is_one_id_and_not_text() -> None:
    assert TOKENIZER.encode(END_OF_TEXT).ids == [end_of_text_id(TOKENIZER)]
    assert TOKENIZER.decode([end_of_text_id(TOKENIZER)]) == ""


def test_a_vocabulary_larger_than_the_data_supports() -> None:
    with pytest.raises(
        UserError, match=r"vocab_size: expected at most \d+, which is what this corpus supports .* got 9000"
    ):
        train_bpe(tiny.stories(8), 9000, 2)


def test_training_twice_gives_the_same_bytes() -> None:
    assert train_bpe(tiny.stories(256), 350, 2).to_str() == TOKENIZER.to_str()


def test_a_tokenizer_from_a_file_gets_an_end_of_text_and_adds_nothing(tmp_path: Path) -> None:
    other = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "[CLS]": 2}, unk_token="[UNK]"))
    other.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    other.enable_truncation(1)
    other.save(str(tmp_path / "tokenizer.json"))
    made = make_tokenizer(ask(kind="file", path="tokenizer.json"), tmp_path / "unused", tmp_path, LocalWorkers())
    assert made.encode("a").ids == [1]
    assert end_of_text_id(made) == 3


def test_a_token_of_the_file_can_be_the_end_of_text(tmp_path: Path) -> None:
    foreign.llama_tokenizer().save(str(tmp_path / "tokenizer.json"))
    made = make_tokenizer(
        ask(kind="file", path="tokenizer.json", end_of_text="</s>"), tmp_path / "unused", tmp_path, LocalWorkers()
    )
    assert (end_of_text_id(made), made.token_to_id("</s>")) == (2, None)


def test_an_end_of_text_needs_a_file() -> None:
    mistakes = dict(TrainTokenizerParams.conflicts({"kind": "bpe", "end_of_text": "</s>"}))
    assert mistakes == {"end_of_text": "expected null unless train_tokenizer.kind is file, got '</s>'"}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe"])
def test_a_file_that_is_not_a_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json: (not found|expected a tokenizer\.json)"):
        load_tokenizer(path)


def test_gpt2_without_a_network_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="kind: gpt2 needs tokenizer.json .* use kind: file"):
        make_tokenizer(ask(kind="gpt2"), tmp_path / "unused", tmp_path, LocalWorkers())


def test_gpt2_from_its_published_files_is_tiktokens(tmp_path: Path) -> None:
    published = tiny.ROOT.parent / "shared" / "gpt2"
    if not published.is_dir():
        pytest.skip("the files of GPT-2's tokenizer are not beside the repository (../shared/gpt2)")
    theirs = Tokenizer(models.BPE.from_file(str(published / "vocab.json"), str(published / "merges.txt")))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    ours = with_end_of_text(theirs)
    vocabulary = json.loads((published / "vocab.json").read_text(encoding="utf-8"))
    assert (ours.get_vocab_size(), end_of_text_id(ours)) == (50_257, 50_256)
    reference = tiktoken.Encoding(
        "gpt2",
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        mergeable_ranks={as_bytes(token): rank for token, rank in vocabulary.items() if token != END_OF_TEXT},
        special_tokens={END_OF_TEXT: 50_256},
    )
    for story in [*tiny.stories(64), "Don't  stop!\n\n😀 1234 漢字 \t\t x", " " * 9]:
        assert ours.encode(story).ids == reference.encode(story)


def as_bytes(token: str) -> bytes:
    """Return the bytes that a token's printable symbols stand for."""
    return bytes(map(BYTE_SYMBOLS.index, token))
