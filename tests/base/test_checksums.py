"""Checksums that are computed once: what is cached is what is in the file, and a lost cache costs only time."""

import hashlib
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinylm.base import checksums
from tinylm.base.checksums import Content, Request, read, record

IDS = np.dtype("<u2")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of DVC, in which the smallest files are cached too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(checksums, "SMALL", 0)
    (tmp_path / ".dvc").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names: list[str] = []
    original = checksums._Reading.read

    def counting(self: Any, request: Request) -> Content:
        names.append(request.path.name)
        return original(self, request)

    monkeypatch.setattr(checksums._Reading, "read", counting)
    return names


def write(name: str, numbers: list[int]) -> Request:
    Path(name).write_bytes(np.array(numbers, IDS).tobytes())
    return Request(Path(name), IDS)


def expected(request: Request) -> Content:
    content = request.path.read_bytes()
    return Content(hashlib.sha256(content).hexdigest(), int(np.frombuffer(content, IDS).max()))


@pytest.mark.parametrize("count", [1, 4, 5, 8, 1001])
def test_the_content_is_that_of_the_file(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "CHUNK", 8)
    numbers = np.random.default_rng(count).integers(1 << 16, size=count).tolist()
    request = write("a", numbers)
    assert read([request]) == [expected(request)]


def test_a_file_is_read_once_even_under_another_name(reads: list[str]) -> None:
    requests = [write("a", [1, 2]), write("b", [7])]
    first = read(requests)
    os.link("a", "link")
    Path("b").rename("c")
    assert read([Request(Path("link"), IDS), Request(Path("c"), IDS)]) == first
    assert checksums.sha256(Path("a")) == first[0].sha256
    assert sorted(reads) == ["a", "b"]


def test_the_highest_number_is_not_that_of_another_type(reads: list[str]) -> None:
    request = write("a", [1, 2])
    read([Request(request.path)])
    assert read([request])[0].highest == 2
    assert read([Request(request.path, np.dtype("<u4"))])[0].highest == 1 + (2 << 16)
    assert len(reads) == 3


def test_a_change_right_after_the_check_is_noticed() -> None:
    """File systems stamp changes within a tick of the kernel's clock alike."""
    for number in range(20):
        request = write("a", [number])
        assert read([request]) == [expected(request)]


@pytest.mark.parametrize(("stamp", "wait"), [(0, 2.0), (1_234_567, 0.02)])
def test_a_file_is_trusted_when_its_file_system_would_stamp_a_change(
    monkeypatch: pytest.MonkeyPatch, reads: list[str], stamp: int, wait: float
) -> None:
    """Whole seconds are the stamps of a coarse file system."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    request, now = write("a", [1]), int(time.time())
    changed = now * 10**9 + stamp
    monkeypatch.setattr(time, "time", lambda: changed / 1e9 + 0.005)
    os.utime("a", ns=(changed, changed))
    read([request])
    assert slept == [pytest.approx(wait - 0.005, abs=1e-6)]
    read([request])
    assert len(reads) == 1


def test_a_file_from_the_future_is_read_each_time(reads: list[str]) -> None:
    request = write("a", [1])
    os.utime("a", (time.time() + 3600, time.time() + 3600))
    assert read([request]) == read([request])
    assert len(reads) == 2


def test_damaged_lines_are_skipped(reads: list[str]) -> None:
    requests = [write("a", [1]), write("b", [2]), write("c", [3])]
    contents = [read([request])[0] for request in requests]
    first, second, third = checksums.FILE.read_bytes().splitlines()
    digest = contents[0].sha256.encode()
    altered = first.replace(digest, digest[::-1])
    checksums.FILE.write_bytes(b"\n".join([altered, second[:20] + third, b"\xff\x00", b"", third]))
    assert read(requests) == contents
    assert reads == ["a", "b", "c", "a", "b"]


@pytest.mark.parametrize("kind", ["a file in place of the folder", "a folder in place of the file", "no repository"])
def test_without_a_cache_files_are_read_each_time(kind: str, reads: list[str]) -> None:
    if kind == "no repository":
        Path(".dvc").rmdir()
    elif kind == "a file in place of the folder":
        Path(".dvc/tmp").touch()
    else:
        checksums.FILE.mkdir(parents=True)
    request = write("a", [1, 2])
    assert read([request]) == read([request]) == [expected(request)]
    record(request, expected(request))
    assert len(reads) == 2
    assert kind != "no repository" or not Path(".dvc").exists()


def test_small_files_are_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "SMALL", 3)
    request = write("a", [1])
    record(request, expected(request))
    assert read([request]) == [expected(request)]
    assert not checksums.FILE.exists()


def test_what_its_writer_recorded_is_not_read(reads: list[str]) -> None:
    request = write("a", [5, 9])
    record(request, expected(request))
    assert read([request]) == [expected(request)]
    assert reads == []


def test_of_several_processes_one_reads_each_file(reads: list[str]) -> None:
    requests = [write(f"file-{number}", [number]) for number in range(10)]
    start = threading.Barrier(4)

    def work(_: int) -> list[Content]:
        start.wait()
        return read(requests)

    with ThreadPoolExecutor(4) as pool:  # with a lock each, as processes have
        results = list(pool.map(work, range(4)))
    assert results == 4 * [[expected(request) for request in requests]]
    assert sorted(reads) == sorted(request.path.name for request in requests)


def test_a_process_that_waits_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(checksums, "PATIENCE", 0.01)
    caplog.set_level(logging.INFO)
    request, told = write("a", [1]), threading.Event()
    monkeypatch.setattr(checksums.log, "info", lambda *_: told.set())
    with ThreadPoolExecutor(1) as pool:
        with checksums._one_process():
            task = pool.submit(read, [request])
            assert told.wait(30)
            assert not task.done()
        assert task.result() == [expected(request)]


def test_a_long_check_says_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told, lines = threading.Event(), list[str]()
    original = checksums._Reading.read

    def log(message: str, *values: float) -> None:
        lines.append(message % values)
        told.set()

    def waiting(self: Any, request: Request) -> Content:
        assert told.wait(30)
        return original(self, request)

    monkeypatch.setattr(checksums, "PATIENCE", 0.01)
    monkeypatch.setattr(checksums.log, "info", log)
    monkeypatch.setattr(checksums._Reading, "read", waiting)
    read([write("a", [1])])
    assert lines == ["computing checksums of files that are new here or were changed: 0.0 of 0.0 GB"]


def test_ctrl_c_ends_the_check_and_what_was_not_read_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [write(f"file-{number}", [number]) for number in range(50)]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def endless(self: Any, request: Request) -> Content:
        deadline = time.monotonic() + 30
        while not self.stopped:
            assert time.monotonic() < deadline
        return Content("")

    monkeypatch.setattr(checksums, "PATIENCE", 0.01)
    monkeypatch.setattr(checksums.log, "info", interrupt)
    monkeypatch.setattr(checksums._Reading, "read", endless)
    with pytest.raises(KeyboardInterrupt):
        read(requests)
    assert not checksums.FILE.exists()


def test_a_file_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, request: Request) -> Content:
        raise OSError(5, "Input/output error")

    request = write("a", [1])
    monkeypatch.setattr(checksums._Reading, "read", broken)
    with pytest.raises(OSError, match="Input/output error"):
        read([request])


def test_a_large_cache_keeps_its_newer_half(monkeypatch: pytest.MonkeyPatch, reads: list[str]) -> None:
    requests = [write(f"file-{number}", [number]) for number in range(6)]
    for request in requests:
        read([request])
    monkeypatch.setattr(checksums, "LARGEST_CACHE", 10)
    read([write("another", [1])])
    reads.clear()
    monkeypatch.setattr(checksums, "LARGEST_CACHE", 1 << 20)
    read(requests)
    assert {"file-0", "file-1", "file-2"} <= set(reads)
    assert not {"file-4", "file-5"} & set(reads)
