"""Lossy tokenizers leave less to predict: no bits per byte are reported for them, and nothing is compared."""

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from stages.pretokenize import main
from tests.support import tiny
from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.params import check, section_classes
from tinylm.cli import summary
from tinylm.evaluate.outputs import write_score
from tinylm.evaluate.score import score_split
from tinylm.experiments import compare, history
from tinylm.experiments.history import Experiment
from tinylm.experiments.sweep import runner
from tinylm.experiments.sweep.watched import VALIDATION, read_losses
from tinylm.generate.outputs import write_jsonl
from tinylm.generate.stories import Story
from tinylm.pretokenize.encoding import Altered, LibraryEncoder, PieceEncoder, make_encoder
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import END_OF_TEXT, end_of_text_id
from tinylm.tokens.description import write_description
from tinylm.tokens.store import open_tokens
from tinylm.train.outputs import Folders
from tinylm.train.run import run_training
from tinylm.train_tokenizer.training import train_bpe
from tinylm.workers.processes import LocalWorkers

BYTE_LEVEL = train_bpe(tiny.stories(64), 300, 2)


def word_piece() -> Tokenizer:
    """A tokenizer that lower-cases and has one id for all unknown words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", END_OF_TEXT], show_progress=False)
    tokenizer.train_from_iterator(tiny.stories(64), trainer)
    return tokenizer


def byte_level(**changes: object) -> Tokenizer:
    tokenizer = Tokenizer.from_str(BYTE_LEVEL.to_str())
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text() | st.sampled_from(["Tom's", "  ", END_OF_TEXT, "<b>", "é 漢"])).map(" ".join))
def test_all_bytes_survive_the_round_trip(story: str) -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<b>"])
    for encoder in (make_encoder(tokenizer), LibraryEncoder(tokenizer)):
        encoder.encode([story.encode()])
        assert encoder.altered is None


@pytest.mark.parametrize(
    ("tokenizer", "decoded"),
    [
        (word_piece(), "once upon a time."),
        (byte_level(normalizer=normalizers.Lowercase()), "once  upon a time."),
        (byte_level(decoder=None), None),
        (byte_level(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), " Once  upon a time."),
    ],
)
def test_a_text_that_is_not_restored(tokenizer: Tokenizer, decoded: str | None) -> None:
    encoder = make_encoder(tokenizer)
    assert isinstance(encoder, LibraryEncoder)
    encoder.encode([b"Once  upon a time.", b"Another"])
    encoder.encode([b"Later"])
    assert encoder.altered
    assert encoder.altered.text == "Once  upon a time."
    assert decoded is None or encoder.altered.decoded == decoded


def test_a_piece_that_is_not_restored() -> None:
    """Without an id for every byte, the library drops unknown bytes."""
    known = {"<|endoftext|>": 0, "a": 1, "b": 2, "Ġ": 3}
    tokenizer = byte_level(model=models.BPE(known, []))
    encoder = make_encoder(tokenizer)
    assert isinstance(encoder, PieceEncoder)
    encoder.encode([b"a b"])
    assert encoder.altered is None
    encoder.encode([b"a b", b"a xb a", b"a yb a"])
    assert encoder.altered == Altered(" xb", " b")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lossy_tokenizer_is_refused_with_an_example(tmp_path: Path, workers: int) -> None:
    stories = ["the end." * 20, *["once upon a time there was Tom"] * 100]
    corpus = tiny.write_corpus(tmp_path / "train.parquet", stories, stories_per_row_group=4)
    with pytest.raises(UserError) as raised:
        write_split(
            tmp_path / "tokens", "train", corpus, byte_level(normalizer=normalizers.Lowercase()), LocalWorkers(workers)
        )
    assert str(raised.value) == (
        "the tokenizer is lossy: 'time there was Tom' is decoded as 'time there was tom'; "
        "use a byte-level tokenizer (train_tokenizer.kind: bpe or gpt2), "
        "or set pretokenize.lossy: true to go without bits per byte"
    )
    assert list((tmp_path / "tokens").iterdir()) == []


def test_a_lossless_tokenizer_that_may_be_lossy(tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "train.parquet", tiny.stories(8))
    assert write_split(tmp_path, "train", corpus, BYTE_LEVEL, lossy=True)[0].lossless


def test_the_stage_accepts_a_lossy_tokenizer_only_if_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    atomic.write_text("artifacts/tokenizer/tokenizer.json", word_piece().to_str())
    for name in ("train", "val"):
        tiny.write_corpus(Path(f"artifacts/corpus/{name}.parquet"), tiny.stories(8))
    values = tiny.PARAMS.values(*section_classes())
    with pytest.raises(UserError, match="^the tokenizer is lossy"):
        main(check(values, "params.yaml"))
    assert not Path("artifacts/tokens/tokens.json").exists()
    values["pretokenize"]["lossy"] = True
    main(check(values, "params.yaml"))
    metrics = json.loads(Path("metrics/pretokenize.json").read_text())
    assert [metrics[name]["lossless"] for name in ("train", "val")] == [False, False]
    for name in ("train", "val"):
        assert f"the tokenizer is lossy on the {name} stories: bits per byte will be null" in caplog.text


@pytest.fixture(scope="module")
def lossy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all outputs of a run with a lossy tokenizer, except its stories."""
    folder, tokenizer = tmp_path_factory.mktemp("lossy"), word_piece()
    atomic.write_text(folder / "tokenizer.json", tokenizer.to_str())
    splits = {}
    for name, texts in (("train", tiny.stories(64)), ("val", tiny.stories(512)[-16:])):
        corpus = tiny.write_corpus(folder / f"{name}.parquet", texts)
        splits[name] = write_split(folder / "tokens", name, corpus, tokenizer, lossy=True)[0]
    write_description(
        folder / "tokens", folder / "tokenizer.json", tokenizer.get_vocab_size(), end_of_text_id(tokenizer), splits
    )
    made = (folder / name for name in ("model", "checkpoints", "metrics", "plots"))
    folders = Folders(folder / "tokens", folder / "tokenizer.json", *made)
    trainer = run_training(tiny.model_params(), tiny.train_params(steps=6), tiny.runtime_params(), folders)
    tokens = open_tokens(folder / "tokens", folder / "tokenizer.json")
    score = score_split(trainer.model.eval(), tokens.val, tokens.end_of_text, 32, batch=8, bar=False)
    write_score(score, tokens.val, tokenizer, folder)
    return folder


def test_every_figure_in_bits_per_byte_is_null(lossy_run: Path) -> None:
    train, evaluate = (json.loads((lossy_run / f"metrics/{name}.json").read_text()) for name in ("train", "evaluate"))
    assert train["val_bits_per_byte"] is train["range95"]["val_bits_per_byte"] is None
    assert evaluate["bits_per_byte"] is evaluate["range95"]["bits_per_byte"] is None
    assert evaluate["range95"]["loss"]["low"] < evaluate["loss"] < evaluate["range95"]["loss"]["high"]
    assert evaluate["perplexity"] == pytest.approx(math.exp(evaluate["loss"]))
    for table in ("plots/train.csv", "plots/val.csv", "artifacts/evaluation/stories.csv"):
        with open(lossy_run / table, newline="") as file:
            rows = list(csv.DictReader(file))
        column = "text_bytes" if "stories" in table else "bits_per_byte"
        assert rows
        assert {row[column] for row in rows} == {""}
        assert all(value for row in rows for name, value in row.items() if name != column)
    assert (lossy_run / "plots/loss_curve.png").stat().st_size > 0


def test_it_is_not_compared(lossy_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lossy_run)
    monkeypatch.setattr(history, "resolve", lambda name: None)
    with pytest.raises(UserError, match="^mine: expected bits per byte, found none, because its tokenizer is lossy"):
        compare.read_run("mine")


def test_the_end_of_the_pipeline_says_so(
    lossy_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(lossy_run)
    write_jsonl(Path("artifacts/stories/stories.jsonl"), [Story(6, "Once", "Once.", 2, True, -1.0, 0.7, 1)])
    monkeypatch.setattr(summary, "find_outdated", list)
    summary.main()
    assert "no bits per byte, because the tokenizer is lossy" in capsys.readouterr().out


def test_losses_of_a_trial_without_bits_per_byte(lossy_run: Path) -> None:
    rows = read_losses(lossy_run / VALIDATION, "")
    assert [row["step"] for row in rows] == [0, 6]
    assert all(set(row) == {"step", "tokens", "loss"} for row in rows)


def test_a_sweep_says_why_it_cannot_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "read_score", lambda commit: {"bits_per_byte": None})
    with pytest.raises(UserError, match="^lossy-000: expected bits per byte, by which a sweep compares"):
        runner.Runner._record(None, None, Experiment("lossy-000", "1" * 40, "2" * 40))  # type: ignore[arg-type]
