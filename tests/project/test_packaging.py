"""The wheel: what is in it, what it needs, and its command `tinylm` in an environment with nothing else.

`installed` is an environment made without a network: a Python, the wheel, and links to the packages that the wheel
requires without extras, as they are installed here. So a command that needs more fails, as it does for a user.
"""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.tiny import ROOT
from tinylm.base import extras, yaml12
from tinylm.base.errors import UserError
from tinylm.cli.main import COMMANDS, main

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
IMPORTED_FOR = {  # modules of a package with another name, or that a package brings
    "dvc_data": "dvc",
    "pydantic_core": "pydantic",
    "ruamel": "ruamel.yaml",
    "yaml": "pyyaml",
}
NEVER_IMPORTED = {
    "pandas",  # datasets requires it; here for its lower bound
    "ruamel.yaml.clib",  # only makes DVC faster
    "tensorboard",  # torch.utils.tensorboard imports it
}


def requirements(texts: list[str]) -> set[str]:
    """The packages of a list of requirements, without this project itself."""
    return {Requirement(text).name for text in texts} - {"tinylm"}


CORE = requirements(PROJECT["dependencies"])
EXTRAS = {name: requirements(texts) for name, texts in PROJECT["optional-dependencies"].items()}


# ---- what the code imports


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("tinylm", "stages"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.parent.name != "static":  # scripts there are copied into exports, and run elsewhere
                yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the names of the top-level packages that these statements import when they run."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.module
            yield statement.module.partition(".")[0]


def test_every_package_that_is_imported_is_declared_and_the_other_way_round() -> None:
    found = set()
    for _, tree in modules():
        found |= set(imported([node for node in ast.walk(tree) if isinstance(node, ast.stmt)]))
    packages = {IMPORTED_FOR.get(name, name) for name in found - {*sys.stdlib_module_names, "tinylm", "stages"}}
    declared = CORE.union(*EXTRAS.values())
    assert packages == declared - NEVER_IMPORTED


def test_no_module_that_only_posix_has_is_imported_at_the_top() -> None:
    """It would end every command on Windows."""
    assert [str(path) for path, tree in modules() if POSIX_ONLY & set(imported(tree.body))] == []


def test_the_extras_name_the_modules_that_their_packages_bring() -> None:
    packages = {
        name: {IMPORTED_FOR.get(module, module) for module in modules} for name, modules in extras.EXTRAS.items()
    }
    expected = {name: packages - {"ruamel.yaml.clib"} for name, packages in EXTRAS.items()}
    assert packages == expected


# ---- a missing extra is one line


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    """Have all modules but these be installed, as far as tinylm/base/extras.py can tell."""
    util = SimpleNamespace(find_spec=lambda name: None if name in hidden else object())
    metadata = SimpleNamespace(distributions=lambda name: [] if name in hidden else [object()])
    monkeypatch.setattr(extras, "importlib", SimpleNamespace(util=util, metadata=metadata))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compare", "a b"),
        ("disk", ""),
        ("open --with", "a"),
        ("open --best", "s"),
        ("plan", ""),
        ("review", ""),
        ("scale", ""),
        ("sweep", "train.seed=1,2"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    hide(monkeypatch, "dvc", "matplotlib")
    assert main([*name.split(), *words.split()]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: tinylm {name} needs the extra `pipeline` (dvc, matplotlib), which is not installed")


@pytest.mark.parametrize(("without", "program"), [((), f"{sys.executable} -m pip"), (("pip",), "uv pip")])
def test_the_remedy_is_for_this_python(monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...], program: str) -> None:
    hide(monkeypatch, *extras.EXTRAS["pipeline"], *without)
    with pytest.raises(UserError) as raised:
        extras.require("pipeline", "the pipeline")
    assert str(raised.value) == (
        "the pipeline needs the extra `pipeline` (datasets, dvc, filelock, ...), which is not installed; "
        f"in the repository, run: {program} install -e '.[pipeline]'"
    )


# ---- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files here, built by the backend that pip would call."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    for name in ("tinylm", "stages", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / done.stdout.splitlines()[-1]


def test_the_wheel_has_the_code_its_data_and_the_licence_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"tinylm-{PROJECT['version']}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"tinylm-{PROJECT['version']}.dist-info/"
    assert {f"{info}licenses/LICENSE", f"{info}licenses/NOTICE", "tinylm/py.typed"} <= names
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinylm").rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith(info)} == {
        name for name in tracked if "__pycache" not in name
    }


def test_the_metadata_name_licence_extras_and_command(wheel: Path) -> None:
    archive, info = zipfile.ZipFile(wheel), f"tinylm-{PROJECT['version']}.dist-info/"
    metadata = archive.read(f"{info}METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE)) == set(EXTRAS)
    assert archive.read(f"{info}entry_points.txt").decode() == "[console_scripts]\ntinylm = tinylm.cli.main:main\n"


def required(packages: set[str]) -> set[str]:
    """The distributions that these packages need without extras, and themselves, as installed here."""
    found: set[str] = set()
    left = [Requirement(name) for name in packages]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            needs = map(Requirement, importlib.metadata.requires(name) or [])
            left += [need for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires without extras; returns its `bin` folder."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for name in required(CORE):
        for file in importlib.metadata.files(name) or []:
            if not file.parts[0].startswith((".", "__pycache__")) and not (link := site / file.parts[0]).exists():
                link.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / file.parts[0])
    (script,) = importlib.metadata.distributions(name="tinylm", path=[str(site)])
    (entry,) = script.entry_points
    module, _, function = entry.value.partition(":")
    program = environment / "bin" / entry.name
    program.write_text(
        f"#!{environment}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    )
    program.chmod(0o755)
    return program.parent


def run(bin_folder: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ |= {"PATH": f"{bin_folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["tinylm", "python -m tinylm"])
def test_the_usage_names_the_command_that_was_typed(installed: Path, tmp_path: Path, command: str) -> None:
    shown = run(installed, tmp_path, *command.split(), "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: {command} [-h]")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        assert run(installed, tmp_path, *command.split(), name, "--help").stdout.startswith(f"usage: {command} {name} ")
    wrong = run(installed, tmp_path, *command.split(), "sing")
    assert wrong.returncode == 2
    assert wrong.stderr.endswith(f"; `{command} --help` lists the options\n")


def test_the_version_is_known_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "tinylm", "--version").stdout == f"tinylm {PROJECT['version']}\n"


@pytest.mark.slow
def test_write_needs_no_extra(installed: Path, tmp_path: Path, tiny_model: Path) -> None:
    done = run(
        installed, tmp_path, "tinylm", "write", "Tom", "--model", str(tiny_model), "--seed", "7", "--max-tokens", "20"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tom")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_serve_needs_no_extra(installed: Path, tmp_path: Path) -> None:
    imports = "import tinylm.serve.server, tinylm.serve.defaults, tinylm.sampling.streaming, tinylm.experiments.ratings"
    done = run(installed, tmp_path, "python", "-c", imports)
    assert done.returncode == 0, done.stderr


def test_a_stage_without_the_extra_is_one_line(installed: Path) -> None:
    """As when DVC is installed for itself and the stages run in a Python that has only the library."""
    done = run(installed, ROOT, "python", "-m", "stages.download")
    assert done.returncode == 1
    assert done.stderr.startswith("error: this stage needs the extra `pipeline` (datasets, dvc, ")
    assert len(done.stderr.splitlines()) == 1


# ---- what states the version, and the licences


def test_the_citation_has_the_version_and_licence_of_the_project() -> None:
    citation = yaml12.read(ROOT / "CITATION.cff", "fix it")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"] == PROJECT["name"]


def test_the_notice_names_the_scripts_in_the_page_of_plots() -> None:
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    tool = ast.parse((ROOT / "tools/plots_page.py").read_text(encoding="utf-8"))
    (packages,) = (
        ast.literal_eval(node.value)
        for node in tool.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    assert packages
    assert all(f"{name} {version}" in notice for name, version in packages.items())
