"""llama2c: the files give our logits and stories, in a reader of its own and in run.c itself."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.export.conftest import LAYOUTS
from tests.support import foreign, llama2c, tiny
from tinylm.base.errors import UserError
from tinylm.export import llama2c as writer
from tinylm.export.llama2c_vocabulary import entries
from tinylm.export.source import Source, read_source
from tinylm.model.rope import rope_table
from tinylm.sampling.generation import stream
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import END_OF_TEXT
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS

TOLERANCE = 1e-5  # of logits with a standard deviation of 0.5; measured: 2e-6
TOKENS = 200
PROMPT = "Once upon a time, Tom"
RUN_C = os.environ.get("TINYLM_RUN_C")


@dataclass(frozen=True)
class Export:
    source: Source
    folder: Path
    model: llama2c.Model
    vocabulary: llama2c.Vocabulary
    ours: list[int | None]  # our id of each entry

    @property
    def unknown(self) -> list[int]:
        """The entries that our vocabulary lacks."""
        return [id_ for id_, ours in enumerate(self.ours) if ours is None]


@pytest.fixture(scope="module", params=["llama", "llama-tied"])
def exported(
    request: pytest.FixtureRequest, make_source: Callable[..., Source], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    source, folder = make_source(request.param), tmp_path_factory.mktemp("llama2c")
    writer.write(source, "f32", folder)
    model = llama2c.read_model(folder / "model.bin")
    vocabulary = llama2c.read_vocabulary(folder / "tokenizer.bin", len(model.arrays["head"]))
    return Export(source, folder, model, vocabulary, [entry.id for entry in entries(source)])


@pytest.fixture
def ids(exported: Export) -> list[int]:
    """Ids of the export: a story's start, then any."""
    known = [id_ for id_, ours in enumerate(exported.ours) if ours is not None]
    return [llama2c.START, *np.random.default_rng(0).choice(known, TOKENS - 1).tolist()]


class TestModel:
    def test_logits(self, exported: Export, ids: list[int]) -> None:
        with torch.no_grad():
            expected = exported.source.model()(torch.tensor([[exported.ours[id_] for id_ in ids]]))[0].numpy()
        got = exported.model.logits(ids)
        known = [id_ for id_, ours in enumerate(exported.ours) if ours is not None]
        assert expected.std() > 0.4
        assert np.abs(got[:, known] - expected[:, [exported.ours[id_] for id_ in known]]).max() < TOLERANCE

    def test_entries_that_we_lack_are_never_the_most_likely(self, exported: Export) -> None:
        states = np.random.default_rng(1).standard_normal((10_000, exported.source.params.width), np.float32)
        logits = states @ exported.model.arrays["head"].T
        assert len(exported.unknown) == 3
        assert not np.isin(logits.argmax(-1), exported.unknown).any()

    def test_their_logits_are_the_mean_of_bytes_that_utf8_never_has(self, exported: Export, ids: list[int]) -> None:
        codes = (code for code in (*range(128), *range(128, 0x110000, 31)) if not 0xD800 <= code < 0xE000)
        used = {byte for code in codes for byte in chr(code).encode()}
        logits, never = exported.model.logits(ids), [llama2c.BYTES + byte for byte in {*range(256)} - used]
        assert len(never) == 13
        for unknown in exported.unknown:
            assert logits[:, unknown] == pytest.approx(logits[:, never].mean(-1), abs=TOLERANCE)

    def test_the_prefix_is_read_as_the_start_of_a_story(self, exported: Export) -> None:
        embedding = exported.model.arrays["embedding"]
        assert (embedding[-1] == embedding[llama2c.START]).all()

    def test_nothing_follows_the_head(self, exported: Export) -> None:
        assert exported.model.rest == 0

    def test_the_angles_of_rope(self, exported: Export) -> None:
        cos, sin = rope_table(exported.source.params)
        assert (exported.model.arrays["cos"] == cos.numpy()).all()
        assert (exported.model.arrays["sin"] == sin.numpy()).all()


class TestVocabulary:
    def test_order(self, exported: Export) -> None:
        pieces = exported.vocabulary.pieces
        assert pieces[:3] == [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
        assert pieces[3:259] == [bytes([byte]) for byte in range(256)]
        assert exported.vocabulary.longest == max(map(len, pieces))
        assert exported.ours[llama2c.START] == exported.source.end_of_text

    def test_each_of_our_ids_is_there_once(self, exported: Export) -> None:
        assert sorted(id_ for id_ in exported.ours if id_ is not None) == [*range(exported.source.vocab_size)]

    def test_scores_fall_from_the_prefix_to_the_last_merge(self, exported: Export) -> None:
        scores = exported.vocabulary.scores
        merged = [score for score in scores[259:-1] if score > -np.inf]
        assert len(merged) == exported.source.tokenizer.get_vocab_size() - 257
        assert all(above > below for above, below in pairwise([scores[-1], *merged]))
        assert {*scores[:259]} == {-np.inf}

    @pytest.mark.parametrize(
        "text", [*tiny.stories(512)[::16], " Once", "don't", "a\nb", "naïve “é” 🙂", "<s> </s> <unk>"]
    )
    def test_our_ids_and_the_start_of_a_story(self, exported: Export, text: str) -> None:
        first, *rest = exported.vocabulary.encode(text)
        assert first == len(exported.ours) - 1
        assert [exported.ours[id_] for id_ in rest] == exported.source.tokenizer.encode(text).ids

    def test_without_a_prompt(self, exported: Export) -> None:
        assert exported.vocabulary.encode("") == [llama2c.START]

    def test_other_ids_where_a_quotation_begins_like_a_contraction(self, tmp_path: Path) -> None:
        merges = [("v", "e"), ("r", "y"), ("ve", "ry"), ("'", "ve")]
        source = source_with([*BYTE_SYMBOLS, *map("".join, merges), END_OF_TEXT], merges, tmp_path)
        writer.write(source, "f32", tmp_path)
        vocabulary = llama2c.read_vocabulary(tmp_path / "tokenizer.bin", source.vocab_size + 3)
        assert source.tokenizer.encode("'very").tokens == ["'ve", "ry"]
        assert [vocabulary.pieces[id_] for id_ in vocabulary.encode("'very")[1:]] == [b"'", b"very"]

    def test_a_token_of_two_merges_has_the_rank_of_the_first(self, tmp_path: Path) -> None:
        merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
        source = source_with([*BYTE_SYMBOLS, "ab", "bc", "abc", END_OF_TEXT], merges, tmp_path)
        assert {entry.piece: entry.score for entry in entries(source)}[b"abc"] == -2


class TestStories:
    def test_the_ids_are_ours(self, exported: Export) -> None:
        got = exported.model.greedy(exported.vocabulary.encode(PROMPT), TOKENS)
        assert [exported.ours[id_] for id_ in got[1:]] == greedy(exported.source, PROMPT)
        assert len(got) == TOKENS

    @pytest.mark.parametrize("prompt", [PROMPT, " Once", ""])
    def test_run_c_prints_ours(self, exported: Export, run_c: Path, prompt: str) -> None:
        command: list[str | Path] = [run_c, exported.folder / "model.bin", "-z", exported.folder / "tokenizer.bin"]
        command += ["-t", "0", "-n", str(TOKENS - 1), "-i", prompt]
        printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        theirs = [exported.ours.index(id_) for id_ in greedy(exported.source, prompt)]
        expected = exported.vocabulary.printed(theirs) + b"\n"
        assert printed == (expected if prompt else expected.removeprefix(b" "))


@pytest.fixture(scope="module")
def run_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the run.c that TINYLM_RUN_C names; returns the program."""
    if RUN_C is None:
        pytest.skip("TINYLM_RUN_C does not name a run.c of llama2.c")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("run") / "run"
    subprocess.run(["cc", "-O2", "-o", program, RUN_C, "-lm"], check=True)
    return program


def greedy(source: Source, prompt: str) -> list[int]:
    """Return the ids of our greedy story, prompt included, of TOKENS with the token before it."""
    ids = source.tokenizer.encode(prompt).ids
    sampling = Sampling(0, None, None, TOKENS - 1, 0)
    return [*ids, *stream(source.model(), ids, 0, sampling, source.end_of_text)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("layout", "changes", "message"),
        [
            ("gpt2", {}, "model.architecture = llama, the only one that llama2.c computes, got gpt2"),
            ("qwen3", {}, "model.qk_norm = false, the only one that llama2.c computes, got true"),
            (
                "llama",
                {"rope_base": 100.0},
                "model.rope_base = 10000.0, the only one that llama2.c computes, got 100.0",
            ),
            ("llama", {"norm_eps": 1e-6}, "model.norm_eps = 1e-05, the only one that llama2.c computes, got 1e-06"),
        ],
    )
    def test_other_models(
        self, make_source: Callable[..., Source], tmp_path: Path, layout: str, changes: dict[str, float], message: str
    ) -> None:
        with pytest.raises(UserError) as refused:
            writer.write(make_source(layout, **changes), "f32", tmp_path)
        parameter = message.split(",")[0].replace(" = ", "=")
        assert str(refused.value).endswith(f"{message}; train a model with `dvc exp run --set-param {parameter}`")
        assert not list(tmp_path.iterdir())

    def test_other_tokenizers(self, tmp_path: Path) -> None:
        source = read_source(foreign.write_llama(tmp_path / "llama", rms_norm_eps=1e-5), "<s>")
        with pytest.raises(UserError, match="expected a byte-level BPE tokenizer, .* got a normalizer .*kind=bpe"):
            writer.write(source, "f32", tmp_path)


def source_with(vocabulary: Sequence[str], merges: list[tuple[str, str]], folder: Path) -> Source:
    """Return a model with a byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE({name: id_ for id_, name in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.save(str(folder / "tokenizer.json"))
    tiny.write_model(folder / "model", folder / "tokenizer.json", **LAYOUTS["llama"])
    return read_source(folder / "model")
