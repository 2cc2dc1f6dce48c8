"""Stream the stories of a .txt file, split at separators."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from tinylm.base.errors import UserError
from tinylm.download.cleaning import END_OF_TEXT

Separator = Literal["endoftext", "blank_line"]
CHUNK = 1 << 20  # bytes per read
LONGEST_STORY = 16 << 20  # bytes; anything longer is treated as a wrong separator, which bounds the buffer
LONGEST_UNSEPARATED = 1 << 20  # bytes; the same for a whole file without a separator
# Bytes, not text: neither separator can match inside a UTF-8 character, and offsets are offsets in the file.
PATTERNS = {
    "endoftext": re.compile(re.escape(END_OF_TEXT.encode())),
    "blank_line": re.compile(rb"(?>\r\n?|\n)(?:[ \t]*(?>\r\n?|\n))+"),
}


def read_txt(path: Path, name: str, separator: Separator) -> Iterator[str]:
    """Yield the stories of a file; `name` is used in messages.

    Blank text between two end-of-text marks is an empty story; blank text at the start or end of the file, or between
    blank lines, is skipped. Raises UserError if the file is not UTF-8 or has no separators.
    """
    with open(path, "rb") as file:
        yield from read_txt_stream(file, name, separator)


def read_txt_stream(file: IO[bytes], name: str, separator: Separator) -> Iterator[str]:
    """As `read_txt`, for an open, seekable file."""
    for start, data, end in _cut(file, name, separator):
        text = _decode(data, file, name, start)
        between_two = separator == "endoftext" and start > 0 and end > start + len(data)
        if between_two or text.strip():
            yield text


def _cut(file: IO[bytes], name: str, separator: Separator) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, bytes, offset after the separator) of each text between separators.

    A blank line may continue in the next chunk; the next piece then begins with white space or is only white space.
    """
    pattern, rest, start, separated = PATTERNS[separator], b"", 0, False
    while chunk := file.read(CHUNK):
        rest += chunk
        done = 0
        for match in pattern.finditer(rest):
            yield start + done, rest[done : match.start()], start + match.end()
            done, separated = match.end(), True
        rest, start = rest[done:], start + done
        if len(rest) > LONGEST_STORY:
            raise _no_separator(name, separator, f"none in more than {LONGEST_STORY >> 20} MB after byte {start}")
    if not separated and len(rest) > LONGEST_UNSEPARATED:
        raise _no_separator(name, separator, f"none in {len(rest)} bytes")
    yield start, rest, start + len(rest)


def _no_separator(name: str, separator: Separator, found: str) -> UserError:
    expected, other, word = f"{END_OF_TEXT} between stories", "blank_line", END_OF_TEXT
    if separator == "blank_line":
        expected, other, word = "blank lines between stories", "endoftext", "a blank line"
    return UserError(
        f"{name}: expected {expected}, found {found}; "
        f"set download.separator: {other}, or put {word} after every story, even a single one"
    )


def _decode(data: bytes, file: IO[bytes], name: str, start: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(file, name, start + error.start, data[error.start]) from None


def not_utf8(file: IO[bytes], name: str, offset: int, byte: int) -> UserError:
    """Return the error for `byte` at `offset` of `file`, which is read again to find the line number."""
    line = 1
    file.seek(0)
    for at in range(0, offset, CHUNK):
        line += file.read(min(CHUNK, offset - at)).count(b"\n")
    return UserError(
        f"{name}: expected UTF-8, found the byte 0x{byte:02x} at offset {offset}, line {line}; save the file as UTF-8"
    )
