"""`tinylm export`: the folder, its checksums, and what it refuses."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tinylm.base.errors import UserError
from tinylm.cli.main import main
from tinylm.export import exporting
from tinylm.export.exporting import CHECKSUMS, WRITERS, export
from tinylm.export.formats import FORMATS
from tinylm.export.source import Source, read_source


@pytest.fixture
def source(make_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch) -> Source:
    """A model; GGUF files are two lines of text."""

    def write(source: Source, type_: str, folder: Path) -> None:
        (folder / "model.gguf").write_text(f"{type_}\n")
        (folder / "parts").mkdir()
        (folder / "parts" / "first part").write_text("1\n")

    monkeypatch.setitem(WRITERS, "gguf", write)
    return make_source("llama")


def test_every_format_has_a_writer() -> None:
    assert WRITERS.keys() == FORMATS.keys()


def test_the_checksums_are_those_of_sha256sum(source: Source, tmp_path: Path) -> None:
    folder, files = export(source, "gguf", "q8_0", tmp_path)
    assert folder == tmp_path / "model-gguf-q8_0"
    assert (folder / "model.gguf").read_text() == "q8_0\n"
    assert [file.path.relative_to(folder).as_posix() for file in files] == ["model.gguf", "parts/first part"]
    checked = subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=folder, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_the_default_type_is_not_in_the_name(source: Source, tmp_path: Path) -> None:
    assert export(source, "gguf", "f16", tmp_path)[0].name == "model-gguf"


def test_an_export_replaces_an_older_one(source: Source, tmp_path: Path) -> None:
    folder, _ = export(source, "gguf", "f16", tmp_path)
    (folder / "left over").touch()
    export(source, "gguf", "f16", tmp_path)
    assert not (folder / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model-gguf"]


def test_it_removes_nothing_but_exports(source: Source, tmp_path: Path) -> None:
    (tmp_path / "model-gguf").mkdir()
    (tmp_path / "model-gguf" / "thesis.tex").touch()
    with pytest.raises(UserError, match="model-gguf: expected nothing, or an older export"):
        export(source, "gguf", "f16", tmp_path)
    assert (tmp_path / "model-gguf" / "thesis.tex").exists()


def test_a_failed_export_leaves_the_older_one(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = export(source, "gguf", "f16", tmp_path)

    def fail(source: Source, type_: str, folder: Path) -> None:
        (folder / "model.gguf").write_text("half")
        raise UserError("no")

    monkeypatch.setitem(exporting.WRITERS, "gguf", fail)
    with pytest.raises(UserError, match="no"):
        export(source, "gguf", "f16", tmp_path)
    assert (folder / "model.gguf").read_text() == "f16\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model-gguf"]


def test_the_command(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "--format", "gguf", "--type", "f32", "--model", str(source.folder)]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{source.folder} -> {tmp_path}/model-gguf-f32"
    assert lines[1].split() == ["model.gguf", "4", "B", "sha256", lines[1].split()[-1]]
    assert lines[-1] == f'llama-completion --model {tmp_path}/model-gguf-f32/model.gguf --prompt "Once upon a time"'


def test_a_type_that_the_format_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--format", "onnx", "--type", "q8_0"]) == 1
    assert capsys.readouterr().err == "error: --type: expected f32 for onnx, got q8_0\n"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a model \(config.json, model.safetensors\), got none"):
        read_source(tmp_path)


def test_a_checkpoint_shares_the_tokenizer_of_its_run(source: Source, tmp_path: Path) -> None:
    checkpoint = tmp_path / "artifacts" / "checkpoints" / "step_000010"
    checkpoint.mkdir(parents=True)
    (tmp_path / "artifacts" / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (checkpoint / name).write_bytes((source.folder / name).read_bytes())
    (tmp_path / "artifacts" / "model" / "tokenizer.json").write_bytes((source.folder / "tokenizer.json").read_bytes())
    read = read_source(checkpoint)
    assert read.name == "step_000010"
    assert read.tokenizer.get_vocab() == source.tokenizer.get_vocab()
