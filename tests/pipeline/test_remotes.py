"""DVC pushes to a remote and pulls on a new machine: a folder, SFTP, S3 and HTTP, each with a real server."""

import base64
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import servers
from tests.support.clone import Clone, stages_run
from tests.support.tiny import ROOT

NO_ADDRESS = "storage-has-no-address--see-README.md"
MODEL = "artifacts/model/model.safetensors"
SECRET = secrets.token_hex()  # random: a constant in this file would be found in git

pytestmark = pytest.mark.slow


def give_address(clone: Clone, address: str, **settings: str) -> None:
    """Configure the remote with the README's command, and with the settings that the type of server needs."""
    clone.dvc("remote", "add", "--local", "--default", "storage", address)
    with (clone.root / ".dvc/config.local").open("a") as config:  # as `dvc remote modify --local` does
        config.writelines(f"    {name} = {value}\n" for name, value in settings.items())


@contextmanager
def pushed_from(ran: Clone, address: str, **settings: str) -> Iterator[None]:
    """Push from `ran` to `address`; at the end, remove the remote from `ran`."""
    give_address(ran, address, **settings)
    try:
        assert "files pushed" in ran.dvc("push")
        yield
    finally:
        (ran.root / ".dvc/config.local").unlink()


@contextmanager
def sftp(ran: Clone, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with servers.sftp(folder) as (port, key):
        address, settings = f"ssh://127.0.0.1:{port}{folder}/store", {"keyfile": str(key)}
        with pushed_from(ran, address, **settings):
            yield address, settings


@contextmanager
def s3(ran: Clone, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with servers.s3("tinylm") as server:
        settings = {"endpointurl": server, "access_key_id": "somebody", "secret_access_key": SECRET}
        with pushed_from(ran, "s3://tinylm/store", **settings):
            yield "s3://tinylm/store", settings


@contextmanager
def http(ran: Clone, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with pushed_from(ran, str(folder)), servers.http_files(folder) as address:
        yield address, {}


class Locked(servers.Quiet):
    """Requires a user name and password (RFC 7617)."""

    def send_head(self):
        expected = "Basic " + base64.b64encode(f"somebody:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            return super().send_head()
        self.send_error(HTTPStatus.UNAUTHORIZED)
        return None


@contextmanager
def http_with_a_password(ran: Clone, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with pushed_from(ran, str(folder)), servers.http_files(folder, Locked) as address:
        stranger = Clone.of(ran, folder.parent / "stranger")
        give_address(stranger, address, auth="basic", user="somebody", password="another")
        stranger.fail("pull")
        yield address, {"auth": "basic", "user": "somebody", "password": SECRET}


@pytest.fixture(scope="module")
def ran(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of `ran`, which gets remotes and experiments."""
    return ran.copy(tmp_path_factory.mktemp("copy") / "ran")


@pytest.fixture(scope="module")
def store(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder to which `ran` was pushed."""
    folder = str(tmp_path_factory.mktemp("store"))
    with pushed_from(ran, folder):
        return folder


@pytest.fixture(scope="module")
def pulled(ran: Clone, store: str, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A new machine that pulled from the folder."""
    clone = Clone.of(ran, tmp_path_factory.mktemp("pulled"))
    give_address(clone, store)
    clone.dvc("pull")
    return clone


@pytest.fixture
def clean(pulled: Clone) -> Clone:
    pulled.git("checkout", "--quiet", "--force", "main")
    pulled.dvc("checkout", "--quiet")
    return pulled


def assert_as_it_was_made(clone: Clone, ran: Clone) -> None:
    """Assert that all files have the bytes of `ran`, and that DVC and git see no difference."""
    files = [path for path in (ran.root / "artifacts").rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert (clone.root / path.relative_to(ran.root)).read_bytes() == path.read_bytes()
    assert "up to date" in clone.dvc("status")
    assert stages_run(clone.dvc("repro")) == []
    assert clone.git("status", "--porcelain") == ""


def with_cache(ran: Clone, root: Path) -> Clone:
    """Return a clone of `ran` that has the files in DVC's cache without a pull."""
    clone = Clone.of(ran, root)
    shutil.copytree(ran.root / ".dvc/cache", clone.root / ".dvc/cache")
    clone.dvc("checkout")
    return clone


def names(clone: Clone) -> set[str]:
    """Return the names of the experiments."""
    references = clone.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    return {reference.rpartition("/")[2] for reference in references}


def versions_with(clone: Clone, text: str) -> str:
    """Return where git has `text`: the files of any commit or experiment that contain it."""
    commits = clone.git("rev-list", "--all").split()
    done = subprocess.run(["git", "grep", "-l", text, *commits], cwd=clone.root, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + clone.git("stash", "list")


def test_the_readme_has_the_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "dvc remote add --local --default storage " in readme
    assert "remote = storage" in (ROOT / ".dvc/config").read_text(encoding="utf-8")


def test_all_runs_work_without_a_remote(ran: Clone, tmp_path: Path) -> None:
    clone = with_cache(ran, tmp_path / "clone")
    assert stages_run(clone.dvc("repro")) == []
    assert stages_run(clone.dvc("exp", "run", "-n", "here", "-S", "generate.temperature=1.1")) == ["generate", "report"]
    clone.git("checkout", "--quiet", "--force", "main")
    clone.dvc("exp", "run", "--temp", "-n", "aside", "-S", "runtime.threads=2")
    clone.dvc("data", "status")


@pytest.mark.torture
def test_a_queue_works_without_a_remote(ran: Clone, tmp_path: Path) -> None:
    clone = with_cache(ran, tmp_path / "clone")
    clone.dvc("exp", "run", "--queue", "-n", "later", "-S", "runtime.threads=3")
    clone.dvc("queue", "start")
    deadline = time.monotonic() + 120
    while "later" not in names(clone):
        assert time.monotonic() < deadline, clone.dvc("queue", "logs", "later")
        time.sleep(0.5)
    clone.dvc("queue", "stop")


def test_only_push_and_pull_fail_without_a_remote(ran: Clone, tmp_path: Path) -> None:
    empty = Clone.of(ran, tmp_path / "empty")
    for command in (["pull"], ["fetch"], ["repro", "--pull"]):
        assert NO_ADDRESS in empty.fail(*command), command
    clone = with_cache(ran, tmp_path / "clone")
    clone.dvc("exp", "run", "-n", "here", "-S", "generate.temperature=1.1")
    for command in (["push"], ["status", "--cloud"], ["exp", "push", "origin", "here"]):
        assert NO_ADDRESS in clone.fail(*command), command
    give_address(clone, str(tmp_path / "store"))
    assert "files uploaded" in clone.dvc("exp", "push", "origin", "here")  # the same command uploads the files later


IN_CI = [pytest.param(kind, marks=pytest.mark.torture) for kind in (s3, http)]  # others pull from these servers too


@pytest.mark.parametrize("kind", [sftp, http_with_a_password, *IN_CI])
def test_a_new_machine_pulls(kind, ran: Clone, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with kind(ran, tmp_path / "server") as (address, settings):
        clone = Clone.of(ran, tmp_path / "clone")
        give_address(clone, address, **settings)
        assert clone.git("status", "--porcelain") == ""
        clone.dvc("pull")
        assert_as_it_was_made(clone, ran)


def test_a_new_machine_pulls_from_a_folder(clean: Clone, ran: Clone) -> None:
    assert_as_it_was_made(clean, ran)


def test_the_pulled_model_generates(clean: Clone) -> None:
    model = AutoModelForCausalLM.from_pretrained(clean.root / "artifacts/model")
    tokenizer = AutoTokenizer.from_pretrained(clean.root / "artifacts/model")
    ids = tokenizer("Once upon a time", return_tensors="pt")
    written = tokenizer.decode(model.generate(**ids, max_new_tokens=8, do_sample=False)[0])
    assert written.startswith("Once upon a time")
    assert len(written) > len("Once upon a time")


def test_a_changed_parameter_reruns_only_the_stages_that_read_it_after_a_pull(clean: Clone) -> None:
    assert stages_run(clean.dvc("exp", "run", "-S", "generate.temperature=1.0")) == ["generate", "report"]


def test_http_is_read_only_and_says_so(ran: Clone, tmp_path: Path) -> None:
    clone = with_cache(ran, tmp_path / "clone")
    (tmp_path / "empty").mkdir()
    with servers.http_files(tmp_path / "empty") as address:
        give_address(clone, address)
        output = clone.fail("push")
    assert "Unsupported method ('POST')" in output
    assert "failed to push data" in output


def test_experiments_can_be_pushed_and_pulled(clean: Clone, ran: Clone, store: str, tmp_path: Path) -> None:
    clean.dvc("exp", "run", "-n", "seventh", "-S", "train.seed=7")
    assert (clean.root / MODEL).read_bytes() != (ran.root / MODEL).read_bytes()
    clean.dvc("exp", "push", "origin", "seventh")
    other = Clone.of(ran, tmp_path / "other")
    give_address(other, store)
    other.dvc("exp", "pull", "origin", "seventh")
    other.dvc("exp", "apply", "seventh")
    assert (other.root / MODEL).read_bytes() == (clean.root / MODEL).read_bytes()
    assert "seed: 7" in (other.root / "params.yaml").read_text(encoding="utf-8")
    assert stages_run(other.dvc("repro")) == []


def test_credentials_stay_out_of_git(ran: Clone, tmp_path: Path) -> None:
    with s3(ran, tmp_path) as (address, settings):
        clone = Clone.of(ran, tmp_path / "clone")
        give_address(clone, address, **settings)
        clone.dvc("pull")
        for threads, mode in (("2", []), ("3", ["--temp"])):
            clone.dvc("exp", "run", *mode, "-n", f"sent{threads}", "-S", f"runtime.threads={threads}")
            clone.dvc("exp", "push", "origin", f"sent{threads}")
            clone.git("checkout", "--quiet", "--force", "main")
        clone.git("add", "--all")
        assert clone.git("status", "--porcelain") == ""
        assert names(ran) >= {"sent2", "sent3"}
        assert SECRET in (clone.root / ".dvc/config.local").read_text(encoding="utf-8")
        assert len(versions_with(clone, "sample_stories").split()) > 3  # text that is there is found
        assert versions_with(clone, SECRET) == ""
        assert versions_with(ran, SECRET) == ""
