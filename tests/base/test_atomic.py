"""Atomic writes: a file is complete or absent."""

import errno
import hashlib
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.tiny import ROOT
from tinylm.base import atomic
from tinylm.base.errors import UserError


def test_a_successful_block_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with atomic.replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    refuse_to_sync_folders(monkeypatch, refusal)
    atomic.write_text(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_a_disk_that_fails_to_sync_a_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_sync_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="refused"):
        atomic.write_text(tmp_path / "file", "whole")


def test_windows_syncs_only_files_opened_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses to open folders, and to sync a file that is open for reading only."""
    opened = []

    def open_(path: Path, flags: int) -> int:
        opened.append((path.parent, flags))
        return os.open(path, flags)

    monkeypatch.setattr(atomic, "os", SimpleNamespace(**vars(os) | {"open": open_}))
    monkeypatch.setattr(atomic, "sys", SimpleNamespace(platform="win32"))
    atomic.write_text(tmp_path / "file", "whole")
    assert opened == [(tmp_path, os.O_RDWR)]
    assert (tmp_path / "file").read_text() == "whole"


def refuse_to_sync_folders(monkeypatch: pytest.MonkeyPatch, refusal: int) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(refusal, "refused")
        sync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fsync)


def test_a_full_disk_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="file: no space left on the disk"), atomic.replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_write_beyond_the_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    """The write fails half-way, as on a full disk."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
from tinylm.base import atomic
atomic.write_text({str(tmp_path / "file")!r}, "x" * 1_000_000)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "UserError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_order_and_refuses_nan(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "é"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert atomic.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> list[PermissionError]:
    """Errors that os.replace raises, one after the other, before it works: another program of Windows has the file."""
    replace, errors = os.replace, []

    def refuse(source: Path, target: Path) -> None:
        if errors:
            raise errors.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    return errors


def sharing_violation(number: int | None = 32) -> PermissionError:
    error = PermissionError(errno.EACCES, "in use")
    if number is not None:
        error.winerror = number  # type: ignore[attr-defined] # only Windows has it
    return error


def test_a_file_in_use_is_replaced_when_it_is_free(tmp_path: Path, in_use: list[PermissionError]) -> None:
    in_use += [sharing_violation(), sharing_violation(5)]
    atomic.write_text(tmp_path / "file", "new")
    assert ((tmp_path / "file").read_text(), in_use) == ("new", [])


def test_a_file_that_stays_in_use_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_use: list[PermissionError]
) -> None:
    monkeypatch.setattr(atomic, "PATIENCE", 0)
    in_use += [sharing_violation() for _ in range(100)]
    with pytest.raises(UserError, match=r"file: expected a file that can be replaced, but another program has it open"):
        atomic.write_text(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_other_systems_is_final(tmp_path: Path, in_use: list[PermissionError]) -> None:
    in_use += [sharing_violation(None), sharing_violation(None)]
    with pytest.raises(PermissionError):
        atomic.write_text(tmp_path / "file", "new")
    assert len(in_use) == 1


@pytest.mark.parametrize("supported", [True, False])
def test_apple_empties_the_cache_of_the_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    """Where the file system can; else it syncs as everywhere."""
    flushed: list[str] = []

    def fcntl(descriptor: int, command: str) -> None:
        flushed.append(command)
        if not supported:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setitem(sys.modules, "fcntl", SimpleNamespace(fcntl=fcntl, F_FULLFSYNC="full"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append("fsync"))
    monkeypatch.setattr(sys, "platform", "darwin")
    atomic.write_text(tmp_path / "file", "whole")
    assert flushed == (["full"] if supported else ["full", "fsync"]) * 2  # the file and its folder
