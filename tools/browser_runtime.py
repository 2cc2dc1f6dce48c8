"""Renew tinylm/export/static/vendor/: ONNX Runtime and a tokenizer for browsers, with their licences and checksums.

`make browser-runtime`; needs npm. The files are those of the packages, unmodified. The WebAssembly of ONNX Runtime is
compressed, to a quarter of its size; SHA256SUMS has the checksums of the files as they are in an export.
"""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {"onnxruntime-web": "1.30.0", "@huggingface/tokenizers": "0.2.0"}
VENDOR = Path(__file__).parent.parent / "tinylm/export/static/vendor"
# By name in an export: package and file. Scripts end in .js, because some servers do not know .mjs.
FILES = {
    "ort.wasm.bundle.min.js": ("onnxruntime-web", "dist/ort.wasm.bundle.min.mjs"),
    "ort-wasm-simd-threaded.wasm": ("onnxruntime-web", "dist/ort-wasm-simd-threaded.wasm"),
    "tokenizers.min.js": ("@huggingface/tokenizers", "dist/tokenizers.min.mjs"),
    "tokenizers-LICENSE.txt": ("@huggingface/tokenizers", "LICENSE"),
}
# The package for browsers has no licence file; that for Python, of the same version and sources, has.
LICENCES = {"onnxruntime-LICENSE.txt": "LICENSE", "onnxruntime-ThirdPartyNotices.txt": "ThirdPartyNotices.txt"}
COMPRESSED = ".wasm"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = _scripts(Path(folder)) | _licences(Path(folder))
    VENDOR.mkdir(parents=True, exist_ok=True)
    for path in VENDOR.iterdir():
        path.unlink()
    for name, content in files.items():
        if name.endswith(COMPRESSED):
            (VENDOR / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (VENDOR / name).write_bytes(content)
    sums = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    (VENDOR / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")


def _scripts(folder: Path) -> dict[str, bytes]:
    names = [f"{name}@{version}" for name, version in PACKAGES.items()]
    packed = _run("npm", "pack", "--json", "--pack-destination", str(folder), *names)
    archives = {made["name"]: folder / made["filename"] for made in json.loads(packed)}
    return {name: _read(archives[package], f"package/{file}") for name, (package, file) in FILES.items()}


def _licences(folder: Path) -> dict[str, bytes]:
    package = f"onnxruntime=={PACKAGES['onnxruntime-web']}"
    _run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), package)
    return {name: (folder / "onnxruntime" / file).read_bytes() for name, file in LICENCES.items()}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def _read(archive: Path, path: str) -> bytes:
    with tarfile.open(archive) as package:
        file = package.extractfile(path)
        assert file is not None
        return file.read()


if __name__ == "__main__":
    main()
