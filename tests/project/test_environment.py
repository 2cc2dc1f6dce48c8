"""The set-up of the project: setup_env.py on toy packages, the content of the locks, DVC without activation.

A `checkout` is a folder with setup_env.py and locks of three tiny packages, whose wheels are in a
folder: everything that a real installation does, in a second and without a network.
"""

import ast
import errno
import fcntl
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
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from packaging.requirements import Requirement

import setup_env

ROOT = Path(__file__).resolve().parent.parent.parent
BASE_PATH = "/usr/local/bin:/usr/bin:/bin"  # has git and a shell, and not our environment
LOCK = "safetensors==1.0\ntorch==2.0\n"


def write_wheel(folder: Path, name: str, version: str, tags: str = "py3-none-any") -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-{tags}.whl", "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)


class Checkout:
    """A toy version of a fresh clone, and the environment variables it is set up with."""

    def __init__(self, root: Path, wheels: Path):
        self.root, self.wheels, self.venv = root, wheels, root / ".venv"
        self.stamp = self.venv / "stamp.json"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "TORCH"))}
        self.environ = kept | {
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(root / "cache"),
            "UV_FIND_LINKS": str(wheels),
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": wheels.as_uri(),  # not an index: only the wheels in this folder are available
            "UV_OFFLINE": "1",
        }

    def setup(self, *, prelude: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run setup_env.py as `make` does, after the Python lines of `prelude` if given."""
        code = f"import runpy, sys\n{prelude}\nrunpy.run_path('setup_env.py', run_name='__main__')"
        command = [sys.executable, *(["-c", code] if prelude else ["setup_env.py"])]
        return subprocess.run(command, cwd=self.root, env=self.environ | environ, capture_output=True, text=True)

    def version(self, package: str) -> str:
        command = [self.venv / "bin" / "python", "-c", f"import {package}; print({package}.version)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, wheels = tmp_path / "checkout", tmp_path / "wheels"
    root.mkdir()
    wheels.mkdir()
    write_wheel(wheels, "safetensors", "1.0")
    write_wheel(wheels, "safetensors", "1.1.0")  # of another size too: bytecode is checked by size and second
    write_wheel(wheels, "extra", "1.0")
    write_wheel(wheels, "torch", "2.0")
    shutil.copy(ROOT / "setup_env.py", root)
    (root / "requirements.lock").write_text(LOCK)
    (root / "requirements-cuda.lock").write_text("")
    return Checkout(root, wheels)


@pytest.fixture
def complete(checkout: Checkout) -> Checkout:
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert ".venv is complete" in done.stdout
    return checkout


# ---- create, leave alone, repair, update


def test_a_complete_environment_returns_at_once_unchanged(complete: Checkout) -> None:
    assert complete.version("torch") == "2.0"
    before = complete.stamp.stat().st_mtime_ns
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = complete.setup()
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert complete.stamp.stat().st_mtime_ns == before


def test_the_console_command_is_that_of_the_checkout(complete: Checkout, tmp_path: Path) -> None:
    """From any folder, also if the paths have spaces and quotes, with each argument as it was given."""
    moved = complete.root.rename(tmp_path / "it's a checkout")
    (moved / "tinylm/cli").mkdir(parents=True)
    (moved / "tinylm/cli/main.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    for command in (str(moved / ".venv/bin/tinylm"), f"../{moved.name}/.venv/bin/tinylm"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        words = ["write", "Once upon a time", "$HOME"]
        done = subprocess.run([command, *words], cwd=tmp_path / "elsewhere", capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3, f"{words}\n"), done.stderr


def interrupt(venv: Path) -> None:
    (venv / "stamp.json").write_text(json.dumps({"torch": "default"}))


def damage_stamp(venv: Path) -> None:
    (venv / "stamp.json").write_text('{"torch": "def')


def lose_python(venv: Path) -> None:
    for path in (venv / "bin").glob("python*"):
        path.unlink()


def lose_package(venv: Path) -> None:
    next(venv.glob("lib/python3*/site-packages/torch.py")).unlink()


def lose_command(venv: Path) -> None:
    (venv / "bin/tinylm").unlink()


def replace_package(venv: Path) -> None:
    info = next(venv.glob("lib/python3*/site-packages/torch-2.0.dist-info"))
    info.rename(info.with_name("torch-3.0.dist-info"))


def break_import(venv: Path) -> None:
    module = next(venv.glob("lib/python3*/site-packages/safetensors.py"))
    module.unlink()  # it may be a link to uv's cache
    module.write_text("import no_such_module\n")


def remove_everything(venv: Path) -> None:
    shutil.rmtree(venv)


def make_a_dangling_link(venv: Path) -> None:
    shutil.rmtree(venv / "bin")
    (venv / "bin").symlink_to("nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        interrupt,
        damage_stamp,
        lose_python,
        lose_package,
        lose_command,
        replace_package,
        break_import,
        remove_everything,
        make_a_dangling_link,
    ],
)
def test_a_broken_environment_is_repaired(complete: Checkout, damage: Callable[[Path], None]) -> None:
    damage(complete.venv)
    done = complete.setup()
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert (complete.version("torch"), complete.version("safetensors")) == ("2.0", "1.0")
    assert complete.setup().stdout == ""


def test_a_moved_checkout_gets_a_new_environment(complete: Checkout) -> None:
    """Programs such as .venv/bin/dvc start with the full path of their Python."""
    moved = Checkout(complete.root.rename(complete.root.with_name("moved")), complete.wheels)
    assert ".venv is complete" in moved.setup().stdout
    assert str(moved.venv) in (moved.venv / "bin" / "activate").read_text()


def test_a_changed_lock_is_followed_exactly(complete: Checkout) -> None:
    lock = complete.root / "requirements.lock"
    lock.write_text(LOCK.replace("safetensors==1.0", "safetensors==1.1.0") + "extra==1.0\n")
    assert ".venv is complete" in complete.setup().stdout
    assert (complete.version("safetensors"), complete.version("extra")) == ("1.1.0", "1.0")
    lock.write_text(LOCK)
    assert ".venv is complete" in complete.setup().stdout
    assert complete.version("safetensors") == "1.0"
    assert not list(complete.venv.glob("lib/python3*/site-packages/extra*"))


def test_a_failed_update_is_one_error_and_keeps_the_old_environment(complete: Checkout) -> None:
    lock = complete.root / "requirements.lock"
    lock.write_text(LOCK + "not_to_be_had==1.0\n")
    done = complete.setup()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    lock.write_text(LOCK)
    assert complete.setup().stdout == ""


def test_concurrent_setups_make_one_environment(checkout: Checkout) -> None:
    command = [sys.executable, "setup_env.py"]
    both = [
        subprocess.Popen(command, cwd=checkout.root, env=checkout.environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    output = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert output.count(".venv is complete") == 1
    assert checkout.version("torch") == "2.0"


def test_an_old_python_gives_one_line_of_error(checkout: Checkout) -> None:
    ast.parse((ROOT / "setup_env.py").read_text(), feature_version=(3, 6))  # otherwise it would be a SyntaxError
    done = checkout.setup(prelude="sys.version_info = (3, 10, 4)")
    assert done.returncode == 1
    assert re.fullmatch(r"error: expected Python 3\.11 or newer, .*make BASE_PYTHON=.*\n", done.stderr)
    assert not checkout.venv.exists()


def test_a_python_without_ensurepip_gives_one_line_of_error(checkout: Checkout) -> None:
    without_uv = "import shutil; shutil.which = lambda *_, **__: None"
    done = checkout.setup(prelude=f"sys.modules['ensurepip'] = None; {without_uv}")
    assert done.returncode == 1
    assert re.search(r"\nerror: .*apt install python3-venv.*\n\Z", "\n" + done.stderr)
    assert "Traceback" not in done.stderr


def test_setup_env_and_pyproject_agree_on_the_oldest_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "sys.version_info < (3, 11)" in (ROOT / "setup_env.py").read_text()


# ---- what belongs to others


@pytest.mark.parametrize("whole", [True, False])
def test_a_linked_environment_is_refused_and_left_alone(complete: Checkout, tmp_path: Path, whole: bool) -> None:
    """It belongs to another checkout, whose programs and lock it has."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("setup_env.py", "requirements.lock", "requirements-cuda.lock"):
        shutil.copy(complete.root / name, clone)
    if not whole:
        damage_stamp(complete.venv)
    (clone / ".venv").symlink_to(complete.venv)
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in complete.venv.rglob("*"))
    done = Checkout(clone, complete.wheels).setup()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"error: expected a folder .venv, got a link to {re.escape(str(complete.venv))}, .*\n", done.stderr
    )
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in complete.venv.rglob("*")) == before
    (clone / ".venv").unlink()
    assert ".venv is complete" in Checkout(clone, complete.wheels).setup().stdout


def test_a_link_to_nowhere_is_refused(checkout: Checkout) -> None:
    checkout.venv.symlink_to(checkout.root / "nowhere")
    done = checkout.setup()
    assert done.returncode == 1
    assert re.fullmatch(r"error: expected a folder .venv, got a link to .*\n", done.stderr)


def test_a_checkout_below_a_link_is_set_up(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(checkout.root)
    assert ".venv is complete" in Checkout(tmp_path / "link", checkout.wheels).setup().stdout
    assert checkout.version("torch") == "2.0"


# ---- Windows


@pytest.fixture
def on_windows(complete: Checkout, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup_env.py of a complete checkout as it would be on Windows, whose files are moved to their places there."""
    programs, packages = complete.venv / "bin", next(complete.venv.glob("lib/python3*/site-packages"))
    (complete.venv / "Lib").mkdir()
    packages.rename(complete.venv / "Lib/site-packages")
    programs.rename(complete.venv / "Scripts")

    def locking(descriptor: int, mode: int, count: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "locked") from None

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("setup_env_on_windows", complete.root / "setup_env.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_of_an_environment_are_found_on_windows(on_windows: ModuleType, complete: Checkout) -> None:
    assert (complete.venv / "Scripts/python.exe", on_windows.AGAIN) == (on_windows.PYTHON, "python setup_env.py")
    assert {"torch-2.0.dist-info", "activate"} <= set(on_windows.content())
    assert "'Scripts'" in on_windows.PTH


def test_the_lock_of_windows(on_windows: ModuleType, monkeypatch: pytest.MonkeyPatch, complete: Checkout) -> None:
    path = complete.root / ".venv.lock"
    with open(path, "wb") as holder, open(path, "wb") as other:
        assert on_windows.lock(holder)
        assert not on_windows.lock(other)
        monkeypatch.setattr(time, "sleep", lambda seconds: holder.close())  # the holder ends while the other one waits
        assert on_windows.lock(other, wait=True)
    with on_windows.exclusive(), open(path, "wb") as other:
        assert not on_windows.lock(other)


def test_the_console_command_of_windows(on_windows: ModuleType, tmp_path: Path) -> None:
    """Its one line, with the words that cmd replaces; sh reads the quotation marks in the same way."""
    root = tmp_path / "a checkout"
    (root / "tinylm/cli").mkdir(parents=True)
    (root / "tinylm/cli/main.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    line = on_windows.COMMAND.removeprefix("@").replace("%~dp0python.exe", sys.executable)
    line = line.replace("%~f0", str(root / ".venv/Scripts/tinylm.cmd")).replace("%*", '"$@"')
    assert line.count("\n") == 1
    assert "%" not in line
    done = subprocess.run(["sh", "-c", line, "sh", "write", "Once upon a time"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "['write', 'Once upon a time']\n"), done.stderr


# ---- which torch


@pytest.mark.skipif(sys.platform != "linux", reason="the toy wheel is for Linux")
def test_the_choice_of_torch_is_kept(complete: Checkout, tmp_path: Path) -> None:
    cpu = tmp_path / "cpu"
    cpu.mkdir()
    write_wheel(
        cpu, "torch", "2.0+cpu", f"cp{sys.version_info[0]}{sys.version_info[1]}-none-linux_{platform.machine()}"
    )
    only_default = complete.environ["UV_FIND_LINKS"]
    complete.environ["UV_FIND_LINKS"] += f",{cpu}"
    assert complete.version("torch") == "2.0"
    assert "complete" in complete.setup(TORCH="cpu").stdout
    assert complete.version("torch") == "2.0+cpu"
    assert complete.setup().stdout == ""  # unset: keeps the variant
    complete.stamp.write_text(json.dumps({"torch": json.loads(complete.stamp.read_text())["torch"]}))
    assert "torch: cpu" in complete.setup().stdout  # after an interruption too
    assert complete.version("torch") == "2.0+cpu"
    complete.environ["UV_FIND_LINKS"] = only_default
    assert "complete" in complete.setup(TORCH="default").stdout
    assert complete.version("torch") == "2.0"


def test_an_unavailable_torch_is_an_error(complete: Checkout) -> None:
    done = complete.setup(TORCH="no-such-backend")
    assert done.returncode == 1
    assert "no-such-backend" in done.stderr
    assert complete.setup().stdout == ""


def test_torch_options(tmp_path: Path) -> None:
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    wheel = tmp_path / f"torch-2.13.0+cpu-{python}-{python}-manylinux_2_28_{platform.machine()}.whl"
    wheel.touch()
    links = ["https://example.invalid/wheels", "", str(tmp_path)]
    assert setup_env.torch_options("cpu", "2.13.0", links) == ["torch==2.13.0+cpu"]
    assert setup_env.torch_options("cpu", "2.13.0", [f"file://{tmp_path}"]) == ["torch==2.13.0+cpu"]
    assert setup_env.torch_options("cpu", "2.14.0", links) == ["--torch-backend", "cpu"]
    assert setup_env.torch_options("cpu", "2.13.0", []) == ["--torch-backend", "cpu"]
    assert setup_env.torch_options("cu130", "2.13.0", links) == ["--torch-backend", "cu130"]
    assert setup_env.torch_options("default", "2.13.0", links) == ["torch==2.13.0+cpu"]
    assert setup_env.torch_options("default", "2.13.0", []) == ["--constraints", str(setup_env.CUDA_LOCK)]
    wheel.rename(wheel.with_name(wheel.name.replace(python, "cp30")))  # for another Python
    assert setup_env.torch_options("cpu", "2.13.0", links) == ["--torch-backend", "cpu"]


# ---- pip's settings


def test_pip_settings_become_uv_variables() -> None:
    pip = {"index-url": "https://a", "extra-index-url": "https://b\nhttps://c", "find-links": "/x /y", "timeout": "9"}
    assert setup_env.uv_environment({"HOME": "/h"}, pip) == {
        "HOME": "/h",
        "UV_DEFAULT_INDEX": "https://a",
        "UV_INDEX": "https://b https://c",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/x,/y",
    }


def test_uv_settings_take_precedence() -> None:
    pip = {"index-url": "https://a", "find-links": "/x"}
    own = {"UV_INDEX_URL": "https://mine", "UV_FIND_LINKS": "/mine"}
    assert setup_env.uv_environment(own, pip) == own


def test_pip_settings_are_read_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run([sys._base_executable, "-m", "pip", "--version"], capture_output=True).returncode:  # type: ignore[attr-defined]
        pytest.skip("this Python has no pip to ask")
    for name in setup_env.UV_NAMES:
        monkeypatch.delenv("PIP_" + name.upper().replace("-", "_"), raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file\nfind-links = /file\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/environment")
    settings = setup_env.pip_settings()
    assert (settings["index-url"], settings["find-links"]) == ("https://file", "/environment")


# ---- what is installed


def pins(name: str) -> dict[str, list[Requirement]]:
    """The requirements in a lock by package; a package may have several, for different Pythons."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix(" \\"))
            found.setdefault(requirement.name, []).append(requirement)
    return found


def test_the_lock_satisfies_pyproject() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = content["project"], content["project"]["optional-dependencies"]
    lock = pins("requirements.lock")
    for text in project["dependencies"] + extras["pipeline"] + content["dependency-groups"]["dev"]:
        asked = Requirement(text)
        for pin in lock[re.sub(r"[-_.]+", "-", asked.name).lower()]:
            assert asked.specifier.contains(str(pin.specifier).removeprefix("==")), "pyproject.toml changed: make lock"


def test_the_locks_are_exact_and_only_one_is_about_cuda() -> None:
    lock, cuda = pins("requirements.lock"), pins("requirements-cuda.lock")
    assert all(str(pin.specifier).startswith("==") for found in (*lock.values(), *cuda.values()) for pin in found)
    of_cuda = re.compile("nvidia-|cuda-|triton")
    assert not [name for name in lock if of_cuda.match(name)]
    assert [name for name in cuda if not of_cuda.match(name)] == ["torch"]  # for its hashes
    assert lock["torch"] == cuda["torch"]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_every_pin_has_hashes(name: str) -> None:
    """Except torch in the lock that all its variants share."""
    without = re.findall(r"^(\S+)==\S+(?! .*\\$)[^\\\n]*$", (ROOT / name).read_text(), re.MULTILINE)
    assert without == (["torch"] if name == "requirements.lock" else [])


def test_a_wheel_with_another_hash_is_refused(checkout: Checkout) -> None:
    [wheel] = checkout.wheels.glob("safetensors-1.0-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = checkout.root / "requirements.lock"
    lock.write_text(f"safetensors==1.0 --hash=sha256:{digest}\ntorch==2.0\n")
    assert checkout.setup().returncode == 0
    shutil.rmtree(checkout.venv)
    lock.write_text(f"safetensors==1.0 --hash=sha256:{digest[::-1]}\ntorch==2.0\n")
    refused = checkout.setup()
    assert refused.returncode == 1
    assert "hash" in refused.stderr.lower()


def test_no_file_contains_a_registry_address_or_a_local_path() -> None:
    """They differ between users. (The names are split here because this file is searched too.)"""
    forbidden = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", str(ROOT)]
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    present = [ROOT / name for name in files if name and (ROOT / name).is_file()]
    assert present
    found = {
        (str(path.relative_to(ROOT)), text)
        for path in present
        for text in forbidden
        if text.encode() in path.read_bytes()
    }
    assert not found


# ---- DVC and make


def test_the_environments_programs_are_first_on_path_once(complete: Checkout) -> None:
    python, folder = complete.venv / "bin" / "python", complete.venv / "bin"
    grandchild = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; print(os.environ[\"PATH\"])'])"
    )
    for path, expected in [(BASE_PATH, f"{folder}:{BASE_PATH}"), (f"{folder}:/x", f"{folder}:/x")]:
        done = subprocess.run(
            [python, "-c", grandchild], env={"PATH": path}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_dvc_runs_stages_without_an_activated_environment(tmp_path: Path) -> None:
    """With this repository's DVC settings: a temporary experiment works too, and DVC adds no .gitignore."""
    environ = {"PATH": BASE_PATH, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {
        f"GIT_{who}_{what}": "t@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    repo = tmp_path / "repo"
    (repo / "stages").mkdir(parents=True)
    shutil.copytree(ROOT / ".dvc", repo / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, repo)
    (repo / "params.yaml").write_text("show:\n  word: one\n")
    stage = {"cmd": "python -m stages.show", "params": ["show"], "outs": ["artifacts/words"]}
    (repo / "dvc.yaml").write_text(json.dumps({"stages": {"show": stage}}))
    (repo / "stages" / "show.py").write_text(
        "import pathlib, sys\n"
        "pathlib.Path('artifacts/words').mkdir(parents=True)\n"
        "pathlib.Path('artifacts/words/prefix.txt').write_text(sys.prefix)\n"
    )

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=repo, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc = os.path.join(sys.prefix, "bin", "dvc")
    run("git", "init", "--quiet")
    run(dvc, "repro")
    assert (repo / "artifacts" / "words" / "prefix.txt").read_text() == sys.prefix
    assert os.listdir(repo / "artifacts") == ["words"]
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "start")
    assert "Ran experiment(s): two" in run(dvc, "exp", "run", "--temp", "--name", "two", "--set-param", "show.word=two")
    run(dvc, "exp", "apply", "two")
    assert (repo / "params.yaml").read_text() == "show:\n  word: two\n"


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="these tests run in another environment than .venv")
def test_uv_run_uses_the_environment_as_it_is() -> None:
    """And writes no lock of its own, which would hold a registry's address."""
    uv = Path(sys.prefix, "bin/uv")
    show = "import shutil, sys; print(sys.prefix, shutil.which('dvc'))"
    command = [uv, "run", "--offline", "python", "-c", show]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": BASE_PATH, "HOME": os.environ["HOME"]}, capture_output=True)
    assert done.stdout.decode().split() == [sys.prefix, f"{sys.prefix}/bin/dvc"], done.stderr
    assert not (ROOT / "uv.lock").exists()


@pytest.fixture
def toy_make(complete: Checkout) -> Callable[..., subprocess.CompletedProcess[str]]:
    shutil.copy(ROOT / "Makefile", complete.root)

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = complete.environ | {"GIT_CEILING_DIRECTORIES": str(complete.root.parent)}
        command = ["make", f"BASE_PYTHON={sys.executable}", *arguments]
        return subprocess.run(command, cwd=complete.root, env=environ, capture_output=True, text=True)

    def make_with_dvc(exit_code: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        dvc = complete.venv / "bin" / "dvc"
        dvc.write_text(f'#!/bin/sh\necho "dvc ran: $@"\nexit {exit_code}\n')
        dvc.chmod(0o755)
        summary = complete.root / "tinylm" / "cli" / "summary.py"
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text("print('the summary')\n")
        return make(*arguments)

    return make_with_dvc


def test_make_repro_runs_dvc_and_then_the_summary(
    toy_make: Callable[..., subprocess.CompletedProcess[str]], complete: Checkout
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=complete.root, check=True)
    done = toy_make(0, "repro", "ARGS=-f train")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("dvc ran: repro -f train") < done.stdout.index("the summary")
    failed = toy_make(1, "repro")
    assert failed.returncode != 0
    assert "the summary" not in failed.stdout


def test_make_repro_outside_git_is_one_clear_error(
    toy_make: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = toy_make(0, "repro")
    assert done.returncode != 0
    assert "error: DVC needs a git repository" in done.stderr
    assert "dvc ran" not in done.stdout


def test_make_help_names_every_target(toy_make: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    listed = re.findall(r"^make ([\w-]+)", toy_make(0).stdout, re.MULTILINE)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert sorted(listed) == sorted(targets[1].split())
