"""Foreign, damaged or missing files: reading one ends with a one-line error that names the remedy."""

import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stages import report
from tests.support import report_data, tiny
from tinylm.base.errors import UserError, explain
from tinylm.base.reading import check_file, parse_numbers, read_as, read_object, read_text
from tinylm.corpus import storage
from tinylm.corpus.storage import RowGroup, read_row_group, read_stories, row_groups
from tinylm.experiments import compare, history, review
from tinylm.experiments.ratings import read_sheets
from tinylm.housekeeping.cache import _stages
from tinylm.model.folder import CONFIG, WEIGHTS, load_model, trained_steps
from tinylm.report.inputs import read_run
from tinylm.sampling.streaming import open_generator
from tinylm.serve.defaults import read_defaults
from tinylm.tokenizer import loading
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import open_tokens, vocabulary_size
from tinylm.train.outputs import Folders
from tinylm.train.resume.run_key import run_key
from tinylm.train.run import run_training
from tinylm.train.step import Trainer


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # a socket path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (Path.mkdir, "expected a file, got a folder"),
        (_pipe, "expected a file, got a pipe"),
        (_socket, "expected a file, got a socket"),
        (_device, "expected a file, got a device"),
        (_broken_link, "not found"),
        (lambda path: None, "not found"),
    ],
)
@pytest.mark.timeout(60)  # opening a pipe would block forever
def test_a_path_that_is_not_a_file(
    make: Callable[[Path], object], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    for read in (check_file, read_text, read_object):
        with pytest.raises(UserError, match=f"x: {found}; mend it$"):
            read(tmp_path / "x", "mend it")


def test_a_path_that_this_user_may_not_access_is_not_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch, pytest.raises(PermissionError) as raised:
        patch.setattr(os, "stat", forbidden)
        check_file("a/x", "mend it")
    assert explain(raised.value) == "a/x: this user may not read or write it; change its permissions (chmod, chown)"


@pytest.mark.parametrize("make", [_pipe, _device, _broken_link, Path.mkdir])
@pytest.mark.parametrize(
    ("read", "library", "remedy"),
    [
        (load_tokenizer, (loading, "Tokenizer"), "run the train_tokenizer stage again"),
        (lambda path: list(read_stories(path)), (storage, "pq"), "run `dvc repro download`"),
        (row_groups, (storage, "pq"), "run `dvc repro download`"),
        (lambda path: read_row_group(RowGroup(path, 0, 1)), (storage, "pq"), "run `dvc repro download`"),
    ],
)
def test_what_is_not_a_file_is_not_opened(
    make: Callable[[Path], object],
    read: Callable[[Path], object],
    library: tuple[ModuleType, str],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library would wait for a pipe forever, and ignore signals."""
    make(tmp_path / "x")
    monkeypatch.setattr(*library, None)
    with pytest.raises(UserError, match=f"x: (expected a file, got a|not found).*; {remedy}"):
        read(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[", "not valid JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not valid JSON"),
        (b" " * 2_000, "expected at most 1,000 bytes, got 2,000"),
    ],
)
def test_a_file_that_is_not_a_json_object(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=f"x: {message}.*; mend it$"):
        read_text(tmp_path / "x", "mend it", largest=1_000) if len(content) == 2_000 else read_object(
            tmp_path / "x", "mend it"
        )


def test_json_of_the_wrong_shape(tmp_path: Path) -> None:
    for content, message in (
        ("[", "not valid JSON"),
        ("[]", "expected `key: value` pairs"),
        ('{"a": 1}', "a: expected text, got 1"),
    ):
        (tmp_path / "x").write_text(content)
        with pytest.raises(UserError, match=f"x: {message}.*; mend it$"):
            read_as(dict[str, str], tmp_path / "x", "mend it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", None),
        ("a,b\n1,2\n", None),
        ("a\n1\n", "expected a column b, found none"),
        ("a,b\n1\n", r"row 2: expected numbers, got \['1', None\]"),
        ("a,b\n1,2\n1,x\n", r"row 3: expected numbers, got \['1', 'x'\]"),
        (f"a,b\n1,{'2' * 200_000}\n", "not valid CSV"),
    ],
)
def test_numbers_in_csv(text: str, message: str | None) -> None:
    if message is None:
        parse_numbers(text, ("a", "b"), "x", "mend it")
        return
    with pytest.raises(UserError, match=f"^x: {message}.*; mend it$"):
        parse_numbers(text, ("a", "b"), "x", "mend it")


def _without(description: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in description.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], "expected `key: value` pairs"),
        (lambda _: None, "expected `key: value` pairs"),
        (lambda d: {"version": 2}, "dtype: missing"),
        (lambda d: d | {"dtype": "float64"}, "dtype: expected 'uint16' or 'uint32', got 'float64'"),
        (lambda d: d | {"vocab_size": "300"}, "vocab_size: expected a whole number, got '300'"),
        (lambda d: d | {"splits": []}, "splits: expected `key: value` pairs"),
        (lambda d: d | {"splits": _without(d["splits"], "val")}, "splits.val: missing"),
        (lambda d: d | {"splits": d["splits"] | {"train": {"tokens": 0}}}, "splits.train.tokens: expected more than 0"),
    ],
)
def test_a_description_of_tokens_of_the_wrong_shape(
    change: Callable[[Any], Any], message: str, tiny_store: Path, tmp_path: Path
) -> None:
    description = json.loads((tiny_store / "tokens/tokens.json").read_text())
    (tmp_path / "tokens.json").write_text(json.dumps(change(description)))
    with pytest.raises(UserError, match=f"tokens.json: {message}.*; run the pretokenize stage again"):
        open_tokens(tmp_path, tiny_store / "tokenizer.json")
    with pytest.raises(UserError, match=f"tokens.json: {message}.*; run the pretokenize stage again"):
        vocabulary_size(tmp_path)


def test_tokens_without_their_tokenizer(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: not found; run the train_tokenizer stage again"):
        open_tokens(tiny_store / "tokens", tmp_path / "tokenizer.json")


@pytest.fixture
def model_folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of a model folder, for tests to damage."""
    for path in tiny_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1_000}, "weights and config.json do not fit"),
        ({"hidden_size": 65_536, "head_dim": 32_768}, "weights and config.json do not fit"),
        ({"vocab_size": 9_999_999}, "weights and config.json do not fit"),
        ({"vocab_size": 10**18}, "vocab_size: expected 1 to 10,000,000, got 1000000000000000000"),
        ({"vocab_size": "300"}, "vocab_size: expected 1 to 10,000,000, got '300'"),
        ({"hidden_size": "32"}, "width: expected a whole number, got '32'"),
        ({"hidden_size": 33}, "heads: expected a divisor of model.width = 33"),
        ({"num_hidden_layers": 10**18}, "layers: expected at most 1,000, got"),
        ({"max_position_embeddings": 10**9}, "context: expected at most 131,072, got"),
        ({"rope_theta": "x" * 999}, "rope_base: expected a number, got 'xxx"),
        ({"num_key_value_heads": 1}, "do not fit .*expected 16 rows, 1 heads with keys and values, got 32"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: expected a divisor of 2, got 3"),
        ({"model_type": ["llama"]}, "expected model_type llama, qwen3 or gpt2, got \\['llama'\\]"),
    ],
)
def test_a_foreign_configuration(changes: dict[str, Any], message: str, model_folder: Path) -> None:
    path = model_folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=message):
        load_model(model_folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (WEIGHTS, r"model\.safetensors: not found; run dvc repro"),
        (CONFIG, r"config\.json: not found; run dvc repro"),
    ],
)
def test_a_model_with_a_missing_file(name: str, message: str, model_folder: Path) -> None:
    (model_folder / name).unlink()
    with pytest.raises(UserError, match=message):
        load_model(model_folder)
    with pytest.raises(UserError, match="expected a model"):
        open_generator(model_folder)


def test_a_model_without_its_tokenizer(model_folder: Path) -> None:
    (model_folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json: not found; train one with"):
        open_generator(model_folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"step": "9"}', '{"step": -1}'])
def test_training_json_without_a_step(content: str, model_folder: Path) -> None:
    (model_folder / "training.json").write_text(content)
    with pytest.raises(UserError, match=r"training\.json: "):
        trained_steps(model_folder)


@pytest.mark.parametrize(
    "content", ["[]", "[1]", "{}", "null", '{"bits_per_byte": "low"}', '{"bits_per_byte": 1, "range95": []}']
)
def test_a_malformed_score(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_data.write_run(tmp_path)
    (tmp_path / "metrics/evaluate.json").write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^metrics/evaluate\.json: .*; run the evaluate stage again$"):
        history.read_score(None)
    if not content.startswith("{"):
        with pytest.raises(UserError, match=r"evaluate\.json: expected a JSON object"):
            read_run(tmp_path)


@pytest.mark.parametrize("content", ["", "a\n1\n", "nats,text_bytes\n", "nats,text_bytes\n1,x\n"])
def test_malformed_scores_of_stories(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_data.write_run(tmp_path)
    (tmp_path / "artifacts/evaluation").mkdir(parents=True)
    (tmp_path / compare.STORIES).write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"workspace: artifacts/evaluation/stories\.csv: .*expected .*; score its model again"
    ):
        compare.read_run("workspace")


@pytest.mark.parametrize("text", ["", "- a", "a: 1", "train: [1]"])
def test_malformed_parameters_of_a_commit(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"params\.yaml: expected sections"):
        history.read_params_at(None)


def test_a_line_that_is_not_a_story() -> None:
    for line in ("[]", '{"prompt": "a"}', '{"prompt": "a", "text": 5, "ended": true}'):
        with pytest.raises(UserError, match=r"^artifacts/stories/stories\.jsonl: "):
            review._first_stories(line)


@pytest.mark.parametrize(
    "text",
    ["", "- a", "stages: []", "stages: {}", "stages: {train: }", "stages: {train: {deps: [a]}}",
     "stages: {train: {deps: [{a: 1}], params: [train]}}", "stages: {train: {deps: [], params: [nothing]}}"],
)  # fmt: skip
def test_a_pipeline_without_the_stage(text: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    (tmp_path / "params.yaml").write_text("train: {}")
    with pytest.raises(UserError, match=r"dvc\.yaml: expected .*; restore it: git checkout"):
        run_key("train", tmp_path)


def test_a_malformed_ratings_key(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("[]")
    with pytest.raises(UserError, match=r"key\.json: expected `key: value` pairs, got \[\]; run the generate stage"):
        read_sheets([tmp_path / "sheet.csv"], tmp_path / "key.json")
    (tmp_path / "key.json").write_text("{}")
    (tmp_path / "sheet.csv").write_text("id,grammar,coherence,fun\n" + "x" * 200_000)
    with pytest.raises(UserError, match=r"sheet\.csv: not valid CSV"):
        read_sheets([tmp_path / "sheet.csv"], tmp_path / "key.json")


def test_defaults_that_are_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generation_config.json").mkdir()
    with pytest.raises(UserError, match=r"generation_config\.json: expected a file, got a folder; fix or remove it"):
        read_defaults(tmp_path, 64)


def test_the_right_files_are_read(tiny_store: Path, tiny_model: Path) -> None:
    assert open_tokens(tiny_store / "tokens", tiny_store / "tokenizer.json").vocab_size == 300
    assert load_model(tiny_model).vocab_size == 300
    assert parse_numbers("a,b,c\n1,2,x\n", ("a", "b"), "x", "") == [{"a": 1.0, "b": 2.0}]
    assert np.array([row["a"] for row in parse_numbers("a\n", ("a",), "x", "")]).size == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("train.json", "{}"), ("pretokenize.json", '{"train": []}')],
)
def test_a_report_on_malformed_metrics(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_data.write_run(tmp_path)
    (tmp_path / "metrics" / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"^metrics/, plots/: expected the metrics of a complete run, .*; run dvc repro"
    ):
        report.main(tiny.PARAMS)


@pytest.mark.parametrize("content", [b"- a", b"stages: [a]", b"{", b"\xff", b"[" * 5_000])
def test_a_malformed_pipeline(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^dvc\.lock: expected the stages of a pipeline"):
        _stages(content, "dvc.lock")


def test_stages_without_outs() -> None:
    assert _stages(b"stages: {a: , b: {cmd: x}}", "dvc.yaml") == [{"cmd": "x"}]
    assert _stages(b"", "dvc.lock") == []


@pytest.mark.parametrize("name", ["model", "checkpoints", "metrics", "plots"])
def test_a_file_in_place_of_an_output_folder_is_reported_before_training(
    name: str, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_step(*_: object) -> None:
        raise AssertionError("training has started")

    monkeypatch.setattr(Trainer, "train_step", train_step)
    getattr(folders, name).write_text("in the way")
    with pytest.raises(UserError, match=f"{name}: expected a folder or nothing, got a file; move it away"):
        run_training(tiny.model_params(), tiny.train_params(), tiny.runtime_params(), folders)


@pytest.mark.timeout(60)  # opening a pipe would block forever
def test_a_pipe_in_place_of_a_table_does_not_block(folders: Folders) -> None:
    folders.plots.mkdir()
    os.mkfifo(folders.plots / "train.csv")
    with pytest.raises(UserError, match=r"train\.csv: expected a file or nothing, got something else; move it away"):
        run_training(tiny.model_params(), tiny.train_params(), tiny.runtime_params(), folders)
