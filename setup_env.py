"""Install into .venv what requirements.lock pins. `make` runs this first; it needs only the standard library.

Without make, as on Windows, the user runs it: `python setup_env.py`. It is the one place that knows where the programs
of an environment are on each system.

The stamp inside .venv is written last, so an interrupted installation is detected and repeated.
With nothing to do this takes some 50 ms, most of it the start of two Pythons.
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

# The syntax of this file is valid in Python 3.6, so that old versions get as far as this message.
if sys.version_info < (3, 11):
    sys.exit(
        f"error: expected Python 3.11 or newer, got {platform.python_version()} ({sys.executable}); "
        "install one, or name an installed one: make BASE_PYTHON=python3.12 ..."
    )

WINDOWS = sys.platform == "win32"
AGAIN = "python setup_env.py" if WINDOWS else "make"  # what the user repeats
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PROGRAMS = VENV / ("Scripts" if WINDOWS else "bin")
PACKAGES = "Lib/site-packages" if WINDOWS else "lib/python3*/site-packages"  # in .venv
PROGRAM = ".exe" if WINDOWS else ""  # the suffix of programs
PYTHON = PROGRAMS / f"python{PROGRAM}"
STAMP = VENV / "stamp.json"
LOCK = ROOT / "requirements.lock"
CUDA_LOCK = ROOT / "requirements-cuda.lock"
DEFAULT_TORCH = "default"  # the package index's wheel: CUDA on Linux, Metal on a Mac
OLDEST_UV = (0, 8)  # the oldest known to have every option used here

# DVC runs a stage's `python -m stages.NAME` through a shell, which looks on PATH. This line in the
# environment's site-packages puts its programs first on PATH for every process that its Python starts.
PTH = (
    f"import os, sys; b = os.path.join(sys.prefix, {PROGRAMS.name!r}); p = os.environ.get('PATH', os.defpath); "
    "p.split(os.pathsep)[0] == b or os.environ.update(PATH=b + os.pathsep + p)\n"
)

# The console command of this checkout. An editable installation would need a build, and so packages that build it.
# The code is not a file of Python, which processes that multiprocessing starts would run again.
COMMAND = """#!/bin/sh
exec "${0%/*}/python" -c 'import os, sys
sys.path[0] = os.path.abspath(os.path.join(sys.argv.pop(1), "../../.."))
from tinylm.cli.main import main
sys.exit(main())' "$0" "$@"
"""
if WINDOWS:
    COMMAND = (
        """@"%~dp0python.exe" -c "import os, sys; """
        """sys.path[0] = os.path.abspath(os.path.join(sys.argv.pop(1), '../../..')); """
        """from tinylm.cli.main import main; sys.exit(main())" "%~f0" %*\n"""
    )

# uv does not read pip's settings. Users who configured pip for a mirror should not have to do it twice.
UV_NAMES = {
    "cert": "SSL_CERT_FILE",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
}


def main() -> None:
    """Create, repair or update .venv; return at once if it is complete."""
    if up_to_date():
        return
    target = os.path.realpath(VENV)
    if target != os.path.join(os.path.realpath(ROOT), VENV.name):  # never change an environment of another checkout
        sys.exit(
            f"error: expected a folder .venv, got a link to {target}, which setting it up would empty; "
            f"remove the link and run `{AGAIN}` again"
        )
    try:
        with exclusive():
            if not up_to_date():  # the process that held the lock has not just done it
                make_environment(wanted_torch())
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"error: .venv is not set up: {Path(error.cmd[0]).name} failed (see above); "
            f"fix that and run `{AGAIN}` again"
        )
    except KeyboardInterrupt:
        sys.exit(f"interrupted; the next `{AGAIN}` sets up .venv again")


def wanted_torch() -> str:
    """Return the torch variant: $TORCH, else the one that .venv was set up with, so that it is given only once."""
    return os.environ.get("TORCH") or str(read_stamp().get("torch") or DEFAULT_TORCH)


def up_to_date() -> bool:
    """Return whether .venv is intact and was set up from these locks, for this torch variant."""
    return read_stamp().get("key") == key(wanted_torch()) and intact()


def key(torch: str) -> str:
    """Hash everything that determines the content of the environment."""
    parts = [torch, PTH, COMMAND, LOCK.read_text("utf-8"), CUDA_LOCK.read_text("utf-8")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_stamp() -> dict[str, object]:
    """Read the stamp; return an empty dict if it is missing or damaged."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(**values: object) -> None:
    """Replace the stamp atomically."""
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    os.replace(temporary, STAMP)


def intact() -> bool:
    """Return whether .venv was completely installed at this path, has all its files, and its Python works."""
    stamp = read_stamp()
    installed = stamp.get("content")
    if not isinstance(installed, list) or not set(installed) <= set(content()):
        return False
    if stamp.get("place") != str(VENV):  # moved; programs like .venv/bin/dvc contain the full path of their Python
        return False
    check = [str(PYTHON), "-I", "-c", "import safetensors"]  # compiled, so another Python version fails; and quick
    try:
        return subprocess.run(check, capture_output=True).returncode == 0
    except OSError:
        return False


def content() -> list[str]:
    """List all programs and packages; a package's version is in the name of its .dist-info folder."""
    names = {path.name for folder in (PROGRAMS, site_packages()) for path in folder.glob("*")}
    return sorted(names - {"__pycache__"})


def site_packages() -> Path:
    """Return the site-packages folder of .venv, or a folder without packages if there is none."""
    return next(VENV.glob(PACKAGES), VENV / "lib")


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock of .venv. Its file is outside, as .venv may be removed; the system releases it with the process."""
    with open(ROOT / ".venv.lock", "wb") as file:
        if not lock(file):
            print(f"waiting for another `{AGAIN}` that is setting up .venv", flush=True)
            lock(file, wait=True)
        yield


if sys.platform == "win32":
    import msvcrt

    def lock(file: IO[bytes], wait: bool = False) -> bool:
        """Lock an open file; return whether this process has the lock now."""
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # LK_LOCK would give up after ten seconds
                return True
            except PermissionError:
                if not wait:
                    return False
                time.sleep(0.1)

else:
    import fcntl

    def lock(file: IO[bytes], wait: bool = False) -> bool:
        """Lock an open file; return whether this process has the lock now."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            return False


def make_environment(torch: str) -> None:
    """Make .venv match the lock: update it if it is intact, else create it anew."""
    started = time.perf_counter()
    print(f"setting up .venv (torch: {torch}; set TORCH, such as TORCH=cpu, for another variant)", flush=True)
    environment = uv_environment(os.environ, pip_settings())
    options = ["--exact", "--compile-bytecode", "--requirements", str(LOCK)]
    options += torch_options(torch, pinned("torch"), environment.get("UV_FIND_LINKS", "").split(","))
    before = read_stamp() if intact() else {}
    if not before:
        create()
    elif before["torch"] != torch:
        options += ["--reinstall-package", "torch"]  # the installed variant satisfies the pin too
    write_stamp(torch=torch)  # without key and content: incomplete from here on
    try:
        subprocess.run([uv(), "pip", "install", "--python", PYTHON, *options], env=environment, check=True)
    except subprocess.CalledProcessError:  # e.g. no network: an environment that was complete stays usable
        write_stamp(**(before or {"torch": torch}))
        raise
    (site_packages() / "tinylm_path.pth").write_text(PTH, encoding="utf-8")
    command = PROGRAMS / ("tinylm.cmd" if WINDOWS else "tinylm")
    command.write_text(COMMAND, encoding="utf-8")
    command.chmod(0o755)
    write_stamp(torch=torch, key=key(torch), place=str(VENV), content=content())
    print(f".venv is complete ({time.perf_counter() - started:.0f} s)", flush=True)


def create() -> None:
    """Create .venv from scratch, with pip only if it is needed to install uv."""
    pip = uv_on_path() is None
    if pip and not importlib.util.find_spec("ensurepip"):
        sys.exit(
            f"error: expected a Python that can create environments, got {sys.executable} without ensurepip; "
            "install ensurepip (Debian, Ubuntu: apt install python3-venv), or uv"
        )
    without = [] if pip else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", "--clear", *without, VENV], check=True)


def uv() -> str | Path:
    """Return uv: the pinned one in .venv, else the user's; install it if there is none."""
    own = PROGRAMS / f"uv{PROGRAM}"
    if own.exists():
        return own
    found = uv_on_path()
    if found:
        return found
    pip = [str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", f"uv=={pinned('uv')}"], check=True)
    return own


def uv_on_path() -> str | None:
    """Return a recent uv outside .venv, which may be about to be cleared; None if there is none."""
    path = shutil.which("uv")
    if path is None or Path(path).parent == PROGRAMS:
        return None
    shown = subprocess.run([path, "--version"], capture_output=True, encoding="utf-8").stdout
    version = re.match(r"uv (\d+)\.(\d+)", shown)
    return path if version and tuple(map(int, version.groups())) >= OLDEST_UV else None


def pip_settings() -> dict[str, str]:
    """Return pip's settings from its files and the environment; without pip, those of the environment."""
    base = getattr(sys, "_base_executable", sys.executable)  # .venv's Python may have no pip
    listing = subprocess.run([base, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    pairs = (line.split("=", 1) for line in listing.splitlines() if "='" in line)  # global.index-url='https://...'
    settings = {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, value in pairs}
    for name in UV_NAMES:
        settings[name] = os.environ.get("PIP_" + name.upper().replace("-", "_")) or settings.get(name, "")
    return settings


def uv_environment(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with pip's settings as uv's variables; uv's own variables take precedence."""
    added = {UV_NAMES[name]: value.split() for name, value in settings.items() if name in UV_NAMES and value}
    separated = {name: ("," if name == "UV_FIND_LINKS" else " ").join(values) for name, values in added.items()}
    if "UV_INDEX_URL" in environ:  # the older name of UV_DEFAULT_INDEX
        separated.pop("UV_DEFAULT_INDEX", None)
    if "UV_INDEX" in separated:  # pip takes the best version of all indexes, uv the first index that has any
        separated["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**separated, **environ}


def torch_options(choice: str, version: str, find_links: Iterable[str]) -> list[str]:
    """Return uv's options for a torch variant; uv itself knows where to find the variants.

    The hashes of the package index's torch are in the CUDA lock; other variants have other files. A CPU wheel in a
    find-links folder is preferred, for machines that reach only a package index. There is no fallback: a variant
    that is not available is an error.
    """
    from urllib.request import url2pathname  # slow to import

    wheel = f"torch-{version}+cpu-cp{sys.version_info[0]}{sys.version_info[1]}-*{platform.machine()}.whl"
    links = (link for link in find_links if link)
    folders = [Path(url2pathname(link[len("file:") :]) if link.startswith("file:") else link) for link in links]
    if choice in ("cpu", DEFAULT_TORCH) and any(any(folder.glob(wheel)) for folder in folders):
        return [f"torch=={version}+cpu"]
    if choice == DEFAULT_TORCH:
        return ["--constraints", str(CUDA_LOCK)]
    return ["--torch-backend", choice]


def pinned(name: str) -> str:
    """Return the version of a package in the lock."""
    found = re.search(rf"^{name}==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    assert found, f"{LOCK.name} has no {name}"
    return found[1]


if __name__ == "__main__":
    main()
