"""Training that starts from a model folder: the same weights, the same ids, or one clear error before any work."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import foreign, tiny
from tinylm.base.errors import UserError
from tinylm.base.params import Params, read_params
from tinylm.model.folder import load_model, save_tokenizer, save_weights
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.train.outputs import Folders
from tinylm.train.run import run_training
from tinylm.train.setup.initial_model import check_tokenizer, conflicts, load_initial

LLAMA = {"heads": 4, "mlp_width": 48, "qk_norm": False, "norm_eps": 1e-6}  # foreign.write_llama, as tiny.model_params
GPT2 = {"architecture": "gpt2", "qk_norm": False, "tie_embeddings": True}


def write_own(folder: Path, store: Path, **changes: Any) -> Transformer:
    """Write the folder of a random model of ours with the tokenizer of a store; returns the model."""
    model = tiny.make_model(300, seed=3, spread=0.1, **changes)
    save_weights(folder, model.state_dict(), model.params, 300, 0)
    save_tokenizer(folder, store / "tokenizer.json", 0, model.params.context)
    return model


def train(folders: Folders, init_from: Path, model: ModelParams, **changes: Any) -> dict[str, Any]:
    p = tiny.train_params(init_from=str(init_from), **{"steps": 4, "peak_lr": 1e-4, "muon_lr": 1e-4} | changes)
    run_training(model, p, tiny.runtime_params(), folders)
    metrics: dict[str, Any] = json.loads((folders.metrics / "train.json").read_text())
    return metrics


def test_training_goes_on_from_the_weights_of_the_folder(folders: Folders, tiny_store: Path, tmp_path: Path) -> None:
    model = write_own(tmp_path / "start", tiny_store)
    metrics = train(folders, tmp_path / "start", model.params)
    first = load_model(folders.checkpoints / "step_000000")
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in first.state_dict().items())
    assert not torch.equal(load_model(folders.model).embedding.weight, model.embedding.weight)
    assert metrics["diagnosis"] == []  # the first loss is not that of random weights, and need not be


def test_the_seed_does_not_change_the_weights_that_a_run_starts_from(
    folders: Folders, tiny_store: Path, tmp_path: Path
) -> None:
    model = write_own(tmp_path / "start", tiny_store)
    weights = []
    for seed in (1, 2):
        there = replace(folders, checkpoints=tmp_path / f"checkpoints-{seed}")
        train(there, tmp_path / "start", model.params, seed=seed)
        weights += [(there.checkpoints / f"step_{step:06d}/model.safetensors").read_bytes() for step in (0, 4)]
    assert weights[0] == weights[2]
    assert weights[1] != weights[3]


@pytest.mark.parametrize("end", ["<s>", "</s>"])
def test_training_goes_on_from_a_foreign_model_with_its_tokenizer(end: str, folders: Folders, tmp_path: Path) -> None:
    theirs = foreign.write_llama(tmp_path / "theirs")
    tiny.write_store(tmp_path / "store", tokenizer=with_end_of_text(foreign.llama_tokenizer(), end))
    here = replace(folders, tokens=tmp_path / "store/tokens", tokenizer=tmp_path / "store/tokenizer.json")
    train(here, theirs, tiny.model_params(**LLAMA))
    ids = torch.arange(60)[None]
    with torch.no_grad():
        assert torch.equal(load_model(here.checkpoints / "step_000000")(ids), load_model(theirs)(ids))
    assert load_model(here.model).params.norm_eps == 1e-6
    assert json.loads((here.model / "config.json").read_text())["eos_token_id"] == 1 + (end == "</s>")


def write_with_rows(folder: Path, store: Path, rows: int) -> ModelParams:
    """Write a model whose embedding has `rows` rows, with the tokenizer of the store; return its parameters."""
    model = tiny.make_model(rows, seed=3)
    save_weights(folder, model.state_dict(), model.params, rows, 0)
    shutil.copy(store / "tokenizer.json", folder)
    return model.params


def test_a_model_with_more_rows_than_the_tokenizer_keeps_them(
    folders: Folders, tiny_store: Path, tmp_path: Path
) -> None:
    params = write_with_rows(tmp_path / "start", tiny_store, 320)
    train(folders, tmp_path / "start", params)
    assert load_model(folders.model).vocab_size == 320


def test_a_model_with_fewer_rows_than_the_tokenizer_is_refused(
    folders: Folders, tiny_store: Path, tmp_path: Path
) -> None:
    params = write_with_rows(tmp_path / "start", tiny_store, 280)
    with pytest.raises(UserError, match="at least the tokenizer's 300 entries, got 280"):
        train(folders, tmp_path / "start", params)


def test_the_context_may_be_shorter(tiny_store: Path, tmp_path: Path) -> None:
    own = write_own(tmp_path, tiny_store, **GPT2)
    shorter = Transformer(own.params.model_copy(update={"context": 40}), 300).eval()
    load_initial(shorter, tmp_path)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(shorter(ids), own(ids))


def test_a_gpt2_without_biases_stays_without(tiny_store: Path, tmp_path: Path) -> None:
    own = write_own(tmp_path, tiny_store, **GPT2, qkv_bias=False)
    assert list(conflicts(tmp_path, own.params.model_dump())) == []
    again = Transformer(own.params, 300)
    load_initial(again, tmp_path)
    assert all(torch.equal(weight, own.state_dict()[name]) for name, weight in again.state_dict().items())


def test_biases_without_a_place_are_refused(tiny_store: Path, tmp_path: Path) -> None:
    own = write_own(tmp_path, tiny_store, **GPT2, qkv_bias=True)
    without = Transformer(own.params.model_copy(update={"qkv_bias": False}), 300)
    with pytest.raises(UserError, match="model.qkv_bias: expected true, .* set -S model.qkv_bias=true"):
        load_initial(without, tmp_path)


def test_weights_that_are_not_finite_are_refused(tiny_store: Path, tmp_path: Path) -> None:
    own = write_own(tmp_path, tiny_store)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"norm\.weight is not finite"):
        load_initial(Transformer(own.params, 300), tmp_path)


def test_every_difference_from_the_folder_is_listed_with_its_setting(tmp_path: Path) -> None:
    foreign.write_llama(tmp_path, tie_word_embeddings=True)
    found = dict(conflicts(tmp_path, tiny.model_params(heads=2, layers=3, context=128).model_dump()))
    assert list(found) == [
        f"model.{key}" for key in ("layers", "heads", "mlp_width", "context", "qk_norm", "tie_embeddings", "norm_eps")
    ]
    assert found["model.layers"] == "expected 2, as train.init_from has, got 3; set -S model.layers=2"
    assert found["model.context"] == "expected at most 64, as train.init_from has, got 128; set -S model.context=64"
    assert found["model.norm_eps"].endswith("got 1e-05; set -S model.norm_eps=1e-06")
    assert found["model.qk_norm"].endswith("got true; set -S model.qk_norm=false")
    same = tiny.model_params(**LLAMA, tie_embeddings=True, context=40, dropout=0.0)
    assert list(conflicts(tmp_path, same.model_dump())) == []


def test_another_architecture_is_a_difference(tmp_path: Path) -> None:
    foreign.make("gpt2").save_pretrained(tmp_path)
    found = dict(conflicts(tmp_path, tiny.model_params().model_dump()))
    assert found["model.architecture"].endswith("set -S model.architecture=gpt2")
    assert found["model.qkv_bias"].endswith("set -S model.qkv_bias=true")
    assert "model.dropout" not in found  # dropout is a matter of this training


def test_stages_check_the_folder_and_list_all_mistakes_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.write_llama(tmp_path / "theirs")
    params = (tiny.ROOT / "params.yaml").read_text().replace("init_from: null", "init_from: theirs")
    (tmp_path / "params.yaml").write_text(params)
    monkeypatch.chdir(tmp_path)
    read = read_params()
    with pytest.raises(UserError) as error:
        read.check_files()
    first, *lines = str(error.value).splitlines()
    assert first == f"params.yaml has {len(lines)} mistakes:"
    assert all(line.startswith("  model.") for line in lines)
    assert len(lines) > 4


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nowhere", r"expected a model folder \(config.json and weights\), got nowhere"), ("odd", "model_type llama")],
)
def test_a_folder_that_is_no_model(folder: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.write_llama(tmp_path / "odd", model_type="bert")
    params = (tiny.ROOT / "params.yaml").read_text().replace("init_from: null", f"init_from: {folder}")
    (tmp_path / "params.yaml").write_text(params)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^params.yaml has 1 mistake: train.init_from: .*{message}"):
        read_params().check_files()


def test_without_a_folder_nothing_is_checked() -> None:
    params: Params = read_params(tiny.ROOT / "params.yaml")
    params.check_files()


def test_another_tokenizer_is_refused_with_the_remedy(folders: Folders, tiny_store: Path, tmp_path: Path) -> None:
    write_own(tmp_path / "start", tiny_store)
    tiny.write_store(tmp_path / "store", vocab_size=290)
    with pytest.raises(UserError) as error:
        check_tokenizer(tmp_path / "start", tmp_path / "store/tokenizer.json")
    path = tmp_path / "start/tokenizer.json"
    assert str(error.value).startswith("train.init_from: another tokenizer than this run (300 entries and not 290)")
    assert str(error.value).endswith(f"-S train_tokenizer.kind=file -S train_tokenizer.path={path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["model"]["merges"].reverse(), "another model"),
        (lambda config: config["pre_tokenizer"].update(add_prefix_space=True), "another pre-tokenizer"),
        (lambda config: config.update(normalizer={"type": "Lowercase"}), "another normalizer"),
    ],
)
def test_a_tokenizer_with_the_same_entries_may_still_give_other_ids(
    change: Any, message: str, tiny_store: Path, tmp_path: Path
) -> None:
    write_own(tmp_path, tiny_store)
    config = json.loads((tiny_store / "tokenizer.json").read_text())
    change(config)
    (tmp_path / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        check_tokenizer(tmp_path, tiny_store / "tokenizer.json")


def test_a_foreign_tokenizer_needs_the_name_of_its_end_of_text(tmp_path: Path) -> None:
    theirs = foreign.write_llama(tmp_path / "theirs")
    with_end_of_text(foreign.llama_tokenizer()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"another end-of-text id than \d+.*-S train_tokenizer.end_of_text=TOKEN"):
        check_tokenizer(theirs, tmp_path / "tokenizer.json")


def test_a_folder_without_a_tokenizer_is_refused(tiny_store: Path, tmp_path: Path) -> None:
    foreign.make("llama").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json: not found; AutoTokenizer"):
        check_tokenizer(tmp_path, tiny_store / "tokenizer.json")


def test_the_log_names_the_folder(
    folders: Folders, tiny_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_own(tmp_path / "start", tiny_store)
    with caplog.at_level(logging.INFO, logger="tinylm"):
        train(folders, tmp_path / "start", model.params)
    assert f"initial weights: {tmp_path / 'start'}" in caplog.text
