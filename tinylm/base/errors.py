"""Error reporting: one line for what the user can fix, a traceback for bugs of ours."""

import errno
import os
import reprlib

LONGEST_LINE = 300  # characters per line of a message
LONGEST_QUOTE, LONGEST_PATH = 80, 160  # characters of a wrong value or of a path quoted in a message
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REASONS = {  # what went wrong, and what to do about it, by errno
    errno.EACCES: "this user may not read or write it; change its permissions (chmod, chown)",
    errno.EPERM: "this user may not read or write it; change its permissions (chmod, chown)",
    errno.ENOENT: "not found; check that the path is right",
    errno.EISDIR: "expected a file, got a folder; move it away, or use another path",
    errno.ENOTDIR: "expected a folder, got a file in its place; move it away, or use another path",
    errno.EEXIST: "expected a folder or nothing, got a file in its place; move it away",
    errno.ENOTEMPTY: "expected an empty folder; move its contents away",
    errno.ENAMETOOLONG: "the path is too long for this file system; shorten it",
    errno.ELOOP: "its symbolic links form a loop; fix them",
    errno.EROFS: "its file system is read-only; remount it read-write, or use another path",
    errno.ENXIO: "expected a file, got a pipe or socket with nothing at its other end; use another path",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.EIO: "the disk reports an error; check it (dmesg), or use another one",
    errno.ESTALE: "the network file system lost it; remount it and run the same command again",
} | dict.fromkeys(FULL_DISK, "no space left on the disk; free some and run the same command again")
NEEDS_NO_PATH = (*FULL_DISK, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EROFS, errno.ESTALE)


class UserError(Exception):
    """A mistake the user can fix; the message says what is wrong, what was expected, what was found, and the remedy.

    Control characters are escaped. A line longer than `LONGEST_LINE` characters is shortened in the middle, so that
    the remedy at its end stays readable.
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__("\n".join(shorten(_printable(line), LONGEST_LINE) for line in message.split("\n")))


class LostProcessError(UserError):
    """Another process of the run ended or does not respond; the same command goes on from the last resume checkpoint.

    The exit code is EX_TEMPFAIL of sysexits.h, by which a launcher knows that another attempt may succeed.
    """

    exit_code = 75


class StoppedError(Exception):
    """The run stopped on a signal; the exit code is that of a program killed by it (128 + signal number)."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def explain(error: Exception) -> str | None:
    """Return the message to show for an error; None for a bug of ours, which needs its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return _explain_os_error(error)
    return None


def _explain_os_error(error: OSError) -> str | None:
    """Return one line for an error that names a path, or that is clear without one; None otherwise."""
    named = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    if not named and error.errno not in NEEDS_NO_PATH:
        return None
    paths = " and ".join(quote_path(os.fsdecode(name)) for name in named) or "a file"
    reason = REASONS.get(error.errno or 0) or f"{error.strerror or error}; check the path"
    return shorten(f"{paths}: {reason}", LONGEST_LINE)


def quote_path(path: str | os.PathLike[str]) -> str:
    """Format a path for a message: on one line, shortened to `LONGEST_PATH` characters."""
    text = os.fspath(path)
    return shorten(text if text.isprintable() else ascii(text), LONGEST_PATH) or "''"


def quote(value: object) -> str:
    """Format any value for a message: on one line, shortened to `LONGEST_QUOTE` characters."""
    try:
        return shorten(_BRIEF.repr(value), LONGEST_QUOTE)
    except ValueError:  # Python refuses to format integers of more than 4,300 digits
        return f"a value of type {type(value).__name__}"


def one_line(text: str) -> str:
    """Reduce foreign text to one line of at most `LONGEST_LINE` characters, with control characters escaped."""
    return shorten(_printable(" ".join(text.split())), LONGEST_LINE)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(text: str, longest: int) -> str:
    """Return `text`, with its middle left out if it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    gap = " ... "
    tail = (longest - len(gap)) // 2
    return text[: longest - len(gap) - tail] + gap + text[-tail:]


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = LONGEST_QUOTE
