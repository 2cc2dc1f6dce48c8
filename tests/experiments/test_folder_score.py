"""A model folder is scored on the held-out stories as the pipeline scores its own model, and compared with runs."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.support import foreign, tiny, windows
from tinylm.base.errors import UserError
from tinylm.base.params import read_params
from tinylm.cli.main import main
from tinylm.evaluate.outputs import write_score
from tinylm.evaluate.score import score_split
from tinylm.experiments import compare
from tinylm.experiments.folder_score import score_folder
from tinylm.model.folder import load_model, save_weights
from tinylm.scoring.windows import default_stride
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import open_tokens

STORIES = tiny.stories(512)[-32:]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_store: Path, tiny_model: Path) -> Path:
    """A repository with held-out stories, a model of ours and a foreign one."""
    monkeypatch.chdir(tmp_path)
    params = (tiny.ROOT / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("  precision: auto", "  precision: fp32").replace("  workers: null", "  workers: 1")
    (tmp_path / "params.yaml").write_text(params.replace("  threads: null", "  threads: 1"))
    tiny.write_corpus(Path("artifacts/corpus/val.parquet"), STORIES)
    shutil.copytree(tiny_model, "ours")
    foreign.write_llama(Path("theirs"))
    return tmp_path


def test_no_file_is_mapped_when_it_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows would refuse, and the temporary files would stay."""
    temporary = root / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    windows.keep_files_in_use(temporary, lambda name, function: monkeypatch.setattr(os, name, function))
    score_folder(Path("ours"), read_params())
    assert list(temporary.iterdir()) == []


def test_our_model_has_the_score_that_the_stage_gives_it(tiny_store: Path) -> None:
    tokens, model = open_tokens(tiny_store / "tokens", tiny_store / "tokenizer.json"), load_model(Path("ours"))
    score = score_split(model, tokens.val, tokens.end_of_text, default_stride(256), batch=32, bar=False)
    expected = write_score(score, tokens.val, load_tokenizer(tiny_store / "tokenizer.json"), Path("stage"))
    assert score_folder(Path("ours"), read_params()).metrics == expected


@torch.no_grad()
def test_a_foreign_model_is_scored_with_its_own_tokenizer() -> None:
    """One story, so that the score is that of the model of `transformers` on <s> story </s>, <s> being </s> here."""
    tiny.write_corpus(Path("artifacts/corpus/val.parquet"), [STORIES[0][:40]])
    score = score_folder(Path("theirs"), read_params(), "</s>")
    ids = foreign.llama_tokenizer().encode(STORIES[0][:40], add_special_tokens=False).ids
    assert len(ids) < 60
    logits = foreign.make("llama-grouped")(torch.tensor([[2, *ids]])).logits[0]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor([*ids, 2]), reduction="sum").item()
    assert score.metrics["bits_per_byte"] == pytest.approx(nats / math.log(2) / 40, rel=1e-5)
    assert (score.context, score.entries) == (64, foreign.llama_tokenizer().get_vocab_size())


def test_the_end_of_text_matters_and_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--model", "theirs"]) == 1
    assert "expected one token that ends a story, got '<s>' and '</s>'" in capsys.readouterr().err
    scores = [score_folder(Path("theirs"), read_params(), end).metrics["loss"] for end in ("<s>", "</s>")]
    assert scores[0] != scores[1]


def test_the_command_prints_the_score_and_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(root.rglob("*"))
    assert main(["evaluate", "--model", "theirs", "--end-of-text", "</s>"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["evaluate", "--model", "theirs", "--end-of-text", "</s>", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert lines[0].startswith(f"{metrics['bits_per_byte']:.4f} bits per byte (95%: ")
    assert "32 stories of " in lines[1]
    assert sorted(root.rglob("*")) == before


def test_two_folders_are_compared_story_by_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ours", "theirs", "--end-of-text", "</s>"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("  ours")
    assert lines[1].endswith("  theirs")
    assert "learning curves" not in "".join(lines)
    assert not Path("comparisons").exists()


def test_a_folder_is_compared_with_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{100 * number},{len(story.encode())}" for number, story in enumerate(STORIES, start=1)]
    Path("artifacts/evaluation").mkdir()
    Path("artifacts/evaluation/stories.csv").write_text("\n".join(["nats,text_bytes", *rows, ""]))
    Path("metrics").mkdir()
    Path("metrics/evaluate.json").write_text('{"bits_per_byte": 9.0}')
    assert main(["compare", "ours", "workspace", "--seeds", "--json"]) == 1  # git knows no experiments here
    capsys.readouterr()
    assert main(["compare", "ours", "workspace", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["stories"], shown["better"]) == (32, "a")
    assert shown["a"]["bits_per_byte"] == score_folder(Path("ours"), read_params()).metrics["bits_per_byte"]


def test_a_folder_has_no_seeds() -> None:
    assert compare.with_seeds("ours") == ["ours"]
    with pytest.raises(UserError, match=r"^ours: a model folder does not tell its train\.seed"):
        compare.check_group([compare.read_run("ours"), compare.read_run("ours")])


def test_other_stories_are_refused() -> None:
    ours = compare.read_run("ours")
    tiny.write_corpus(Path("artifacts/corpus/val.parquet"), STORIES[:30])
    with pytest.raises(UserError, match="were scored on different validation stories"):
        compare.report([ours], [compare.read_run("ours")])


def test_a_lossy_tokenizer_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "Tom": 1, "<|endoftext|>": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save("ours/tokenizer.json")
    with pytest.raises(UserError, match=r"^ours: its tokenizer is lossy .* bits per byte are undefined"):
        score_folder(Path("ours"), read_params())


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nowhere", r"nowhere: expected a model folder with config\.json"), ("small", "at most 280 tokenizer entries")],
)
def test_a_folder_that_is_no_model(folder: str, message: str, tiny_store: Path) -> None:
    tiny.write_model(Path("small"), tiny_store / "tokenizer.json")
    model = tiny.make_model(280)
    save_weights(Path("small"), model.state_dict(), model.params, 280, 0)
    with pytest.raises(UserError, match=message):
        score_folder(Path(folder), read_params())


def test_without_held_out_stories_the_remedy_is_named() -> None:
    Path("artifacts/corpus/val.parquet").unlink()
    with pytest.raises(UserError, match=r"val\.parquet: not found; run dvc repro download, or dvc pull"):
        score_folder(Path("ours"), read_params())
