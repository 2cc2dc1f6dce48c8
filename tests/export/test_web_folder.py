"""The files of an export for browsers, and the libraries in it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny import ROOT
from tinylm.base.errors import UserError
from tinylm.export import web_folder
from tinylm.export.source import Source
from tinylm.export.web_folder import VENDOR, write
from tools import browser_runtime


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the libraries, to damage."""
    copied = shutil.copytree(VENDOR, tmp_path / "vendor")
    monkeypatch.setattr(web_folder, "VENDOR", copied)
    return copied


def test_every_file_that_the_page_names_is_there(make_source: Callable[..., Source], tmp_path: Path) -> None:
    write(make_source("llama"), "f32", tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    for script in tmp_path.glob("*.js"):
        named |= set(re.findall(r'(?:from |URL\()"([^"]+)"', script.read_text(encoding="utf-8")))
    assert {"page.js", "./vendor/ort.wasm.bundle.min.js", "worker.js"} <= named
    assert [name for name in named if name.startswith(("/", "http")) or not (tmp_path / name).is_file()] == []
    description = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert description["files"].keys() == {"model.onnx", "tokenizer.json", "vendor/ort-wasm-simd-threaded.wasm"}
    assert all((tmp_path / name).stat().st_size == size for name, size in description["files"].items())


def test_defaults_are_those_of_serve(
    make_source: Callable[..., Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_source("llama")
    (source.folder / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 7}')
    (tmp_path / "web").mkdir()
    write(source, "f32", tmp_path / "web")
    description = json.loads((tmp_path / "web/model.json").read_text(encoding="utf-8"))
    assert description["defaults"] == {
        "temperature": 0.25,
        "top_k": 7,
        "top_p": None,
        "max_tokens": source.params.context - 1,
        "seed": None,
    }


@pytest.mark.parametrize("name", ["ort.wasm.bundle.min.js", "tokenizers-LICENSE.txt"])
def test_a_changed_library_is_refused(
    make_source: Callable[..., Source], tmp_path: Path, vendor: Path, name: str
) -> None:
    (vendor / name).write_bytes((vendor / name).read_bytes() + b" ")
    (tmp_path / "web").mkdir()
    with pytest.raises(UserError, match=rf"{name}: its checksum differs from that in SHA256SUMS; install tinylm again"):
        write(make_source("llama"), "f32", tmp_path / "web")


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_damaged_archive_is_refused(
    make_source: Callable[..., Source], tmp_path: Path, vendor: Path, size: int
) -> None:
    (archive,) = vendor.glob("*.gz")
    archive.write_bytes(archive.read_bytes()[:size])
    (tmp_path / "web").mkdir()
    with pytest.raises(UserError, match=r"ort-wasm-simd-threaded.wasm(.gz)?: .*; install tinylm again"):
        write(make_source("llama"), "f32", tmp_path / "web")


def test_a_missing_library_is_refused(make_source: Callable[..., Source], tmp_path: Path, vendor: Path) -> None:
    (vendor / "tokenizers.min.js").unlink()
    (tmp_path / "web").mkdir()
    with pytest.raises(UserError, match=r"tokenizers.min.js: missing; install tinylm again"):
        write(make_source("llama"), "f32", tmp_path / "web")


def test_the_tool_lists_the_files_that_are_kept() -> None:
    sums = (VENDOR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = {line.split("  ")[1] for line in sums}
    assert names == browser_runtime.FILES.keys() | browser_runtime.LICENCES.keys()
    kept = {path.name.removesuffix(".gz") for path in VENDOR.iterdir()}
    assert kept == names | {"SHA256SUMS"}


def test_the_notice_names_the_libraries_and_their_versions() -> None:
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    assert all(f"{name} {version}" in notice for name, version in browser_runtime.PACKAGES.items())
    script = (VENDOR / "ort.wasm.bundle.min.js").read_text(encoding="utf-8")
    assert f"ONNX Runtime Web v{browser_runtime.PACKAGES['onnxruntime-web']}" in script
