"""Errors of the operating system end a stage or command with one line that names the file and the remedy."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny import ROOT
from tinylm.base import atomic, stage
from tinylm.base.errors import LONGEST_LINE, UserError, explain, quote, quote_path
from tinylm.cli.main import main

NOBODY = 65534  # a user to whom permissions apply, unlike root


def _read_folder(folder: Path) -> None:
    folder.read_text()


def _read_below_file(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "file" / "below").read_text()


def _make_folder_of_file(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "file").mkdir()


def _follow_loop(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "loop").read_text()


def _read_long_name(folder: Path) -> None:
    (folder / ("x" * 5000)).read_text()


def _read_missing(folder: Path) -> None:
    (folder / "missing").read_text()


def _read_socket(folder: Path) -> None:
    os.chdir(folder)  # a socket path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        Path("socket").read_text()


def _replace_folder(folder: Path) -> None:
    (folder / "taken").mkdir()
    atomic.write_text(folder / "taken", "text")


def _read_as_nobody(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("")
    secret.chmod(0)
    if os.geteuid():
        secret.read_text()
    os.seteuid(NOBODY)
    try:
        secret.read_text()
    finally:
        os.seteuid(0)


def _fill_disk(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        full.write("x")
        full.flush()  # an OSError without a path


REFUSALS = [
    (_read_folder, "expected a file, got a folder"),
    (_read_below_file, "expected a folder, got a file"),
    (_make_folder_of_file, "expected a folder or nothing, got a file"),
    (_follow_loop, "symbolic links form a loop"),
    (_read_long_name, "the path is too long"),
    (_read_missing, "not found; check"),
    (_read_socket, "pipe or socket with nothing at its other end"),
    (_replace_folder, "taken: expected a file, got a folder"),
    (_read_as_nobody, "this user may not read or write it"),
    (_fill_disk, "no space left on the disk"),
]


@pytest.mark.parametrize(("refuse", "reason"), REFUSALS)
def test_an_os_error_ends_a_stage_with_one_line(
    refuse: Callable[[Path], None],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert stage._run(lambda _: refuse(tmp_path)) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert reason in line
    assert line.count("\n") == 1
    assert len(line) <= LONGEST_LINE + len("error: \n")


@pytest.mark.parametrize("words", [["ratings", "a.csv", "--key"], ["write", "--model"]])
def test_an_os_error_ends_a_command_with_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "x" * 5000]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: xxx")
    assert line.endswith(": the path is too long for this file system; shorten it\n")
    assert len(line) < LONGEST_LINE


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError("of no file")

    monkeypatch.chdir(ROOT)
    with pytest.raises(OSError, match="of no file"):
        stage._run(fail)
    assert explain(ValueError("x")) is None


def test_an_unknown_errno_gives_the_message_of_the_system() -> None:
    assert explain(OSError(errno.EBUSY, "Device or resource busy", "x")) == "x: Device or resource busy; check the path"


def test_two_paths_are_both_named() -> None:
    error = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, b"b")
    assert explain(error) == "a and b: Invalid cross-device link; check the path"


def test_each_line_of_a_message_is_short_and_keeps_its_end() -> None:
    first, second = str(UserError(f"{'x' * 999}; fix it\nshort")).split("\n")
    assert len(first) == LONGEST_LINE
    assert first.endswith("; fix it")
    assert second == "short"


def test_quoted_values_fit_on_a_line() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "a\nb" * 999, 10**9999, list(range(10**5)), {"x" * 999: "y"}, b"z" * 999, "\ud800"):
        assert quote(value).isprintable()
        assert len(quote(value)) <= 80
    assert quote_path("a\nb") == r"'a\nb'"
    assert quote_path("") == "''"
