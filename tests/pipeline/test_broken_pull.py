"""An interrupted pull can be repeated without loss, and damage in the remote is detected."""

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.test_remotes import assert_as_it_was_made, give_address, pushed_from
from tests.support import servers
from tests.support.clone import Clone

LARGE = 10_000  # bytes; some of the files are larger
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of `ran`, which gets remotes and experiments."""
    return ran.copy(tmp_path_factory.mktemp("copy") / "ran")


@pytest.fixture(scope="module")
def store(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    with pushed_from(ran, str(folder)):
        return folder


@pytest.fixture
def clone(ran: Clone, tmp_path: Path) -> Clone:
    return Clone.of(ran, tmp_path / "clone")


def cached(clone: Clone) -> Iterator[Path]:
    """Yield the files in DVC's cache, checked against their hashes, without the .tmp files of a killed pull."""
    folder = clone.root / ".dvc/cache/files/md5"
    for path in (path for path in folder.glob("??/*") if path.suffix != ".tmp"):
        digest = path.parent.name + path.name.removesuffix(".dir")
        assert hashlib.md5(path.read_bytes()).hexdigest() == digest
        yield path


class Dropping(servers.Quiet):
    """Closes the connection halfway through every large file while `dropping` is set."""

    dropping = True
    dropped = 0

    def copyfile(self, source, outputfile) -> None:
        content = source.read()
        if type(self).dropping and len(content) > LARGE:
            type(self).dropped += 1
            content = content[: len(content) // 2]
            self.close_connection = True
        outputfile.write(content)


def test_dropped_connections(clone: Clone, ran: Clone, store: Path) -> None:
    with servers.http_files(store, Dropping) as address:
        give_address(clone, address)
        clone.fail("pull")
        assert Dropping.dropped > 0
        before = len(list(cached(clone)))
        Dropping.dropping = False
        clone.dvc("pull")
    assert 0 < before < len(list(cached(clone)))
    assert_as_it_was_made(clone, ran)


class Stalling(servers.Quiet):
    """Stalls halfway through the first large file until `go` is set."""

    stalled = threading.Event()
    go = threading.Event()

    def copyfile(self, source, outputfile) -> None:
        content = source.read()
        if len(content) > LARGE and not self.go.is_set():
            outputfile.write(content[: len(content) // 2])
            self.stalled.set()
            self.go.wait(60)
            self.close_connection = True
            return
        outputfile.write(content)


@pytest.mark.torture
def test_a_killed_pull(clone: Clone, ran: Clone, store: Path) -> None:
    with servers.http_files(store, Stalling) as address:
        give_address(clone, address)
        with subprocess.Popen(["dvc", "pull", "--quiet"], cwd=clone.root, env=clone.environ) as process:
            assert Stalling.stalled.wait(60)
            process.kill()
        Stalling.go.set()
        assert not (clone.root / "artifacts/model/model.safetensors").exists()
        clone.dvc("pull")
    assert list(cached(clone))
    assert_as_it_was_made(clone, ran)


def test_a_damaged_file_in_the_remote_is_detected(clone: Clone, ran: Clone, store: Path) -> None:
    path = max(store.glob("files/md5/??/*"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    give_address(clone, str(store))
    clone.fail("pull")
    assert not any(cache.name == path.name for cache in cached(clone))
    path.write_bytes(whole)
    clone.dvc("pull")
    assert_as_it_was_made(clone, ran)
