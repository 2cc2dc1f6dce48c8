"""What is printed on Windows is UTF-8, also into a file."""

import io
import sys

import pytest

from tinylm.base.console import use_utf8


@pytest.mark.parametrize(("platform", "expected"), [("win32", b"\xe2\x80\x9c"), ("linux", b"\x93")])
def test_windows_prints_utf8(monkeypatch: pytest.MonkeyPatch, platform: str, expected: bytes) -> None:
    """Elsewhere the user's choice of an encoding stays."""
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="cp1252") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "platform", platform)
        use_utf8()
        print("\u201c", end="", flush=True)
        assert written.getvalue() == expected


def test_a_stream_without_an_encoding_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "platform", "win32")
    use_utf8()
