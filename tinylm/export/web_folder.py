"""Write an export for browsers: the page of `tinylm serve`, with the model and what runs it."""

import gzip
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.fields import COLDEST, END_OF_TEXT
from tinylm.export.onnx_folder import EXTERNAL, write_graph
from tinylm.export.source import Source
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.streaming import TextGenerator
from tinylm.serve.defaults import read_defaults
from tinylm.serve.description import describe
from tinylm.serve.server import FILES as SERVED

STATIC = Path(__file__).parent / "static"
SCRIPTS, VENDOR = STATIC / "web", STATIC / "vendor"
VENDOR_SUMS = "SHA256SUMS"
DOWNLOADS = (".onnx", ".wasm", "tokenizer.json")  # files whose download the page shows
HEAD = '  <meta charset="utf-8">\n'
# The policy of `serve`, without what only a header can say; and a script for when page.js cannot load.
OWN_HEAD = """\
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'">
  <meta name="referrer" content="no-referrer">
  <script src="loading.js"></script>
"""


def write(source: Source, _type: str, folder: Path) -> None:
    """Write a page that any static host can serve."""
    write_graph(source, folder)
    if (folder / EXTERNAL).exists():
        raise UserError(f"{source.folder}: expected at most 2 GB of weights, which a browser can load, got more")
    atomic.write_text(folder / "tokenizer.json", source.tokenizer.to_str())
    _write_vendored(folder / "vendor")
    for script in SCRIPTS.iterdir():
        shutil.copyfile(script, folder / script.name)
    for name in ("page.css", "page.js", "icon.svg"):
        shutil.copyfile(SERVED / name, folder / name)
    page = (SERVED / "page.html").read_text(encoding="utf-8")
    assert HEAD in page
    atomic.write_text(folder / "index.html", page.replace(HEAD, HEAD + OWN_HEAD))
    atomic.write_text(folder / "model.json", json.dumps(_description(source, folder), indent=2) + "\n")


def _description(source: Source, folder: Path) -> dict[str, Any]:
    """Return what the page needs to know: what `serve` tells it, and what its own checks and downloads need."""
    generator = TextGenerator(source.model(), source.tokenizer)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return describe(generator, source.name, read_defaults(source.folder, source.params.context)) | {
        "request": GenerationRequest.model_json_schema()["properties"],
        "coldest": COLDEST,
        "end_of_text": {"id": source.end_of_text, "text": END_OF_TEXT},
        "files": {name: (folder / name).stat().st_size for name in names if name.endswith(DOWNLOADS)},  # bytes
    }


def _write_vendored(folder: Path) -> None:
    """Write the libraries of others, as they were published. Raises UserError if one is damaged."""
    folder.mkdir()
    for line in (VENDOR / VENDOR_SUMS).read_text(encoding="utf-8").splitlines():
        sum_, name = line.split("  ")
        (folder / name).write_bytes(_read_vendored(name))
        if atomic.sha256(folder / name) != sum_:
            raise UserError(f"{VENDOR / name}: its checksum differs from that in {VENDOR_SUMS}; install tinylm again")
    shutil.copyfile(VENDOR / VENDOR_SUMS, folder / VENDOR_SUMS)


def _read_vendored(name: str) -> bytes:
    compressed = VENDOR / f"{name}.gz"
    try:
        if compressed.exists():
            return gzip.decompress(compressed.read_bytes())
        return (VENDOR / name).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{VENDOR / name}: missing; install tinylm again") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{compressed}: damaged ({error}); install tinylm again") from None
