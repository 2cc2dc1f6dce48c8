"""How a command ends other than well: in one line where the user can mend it, with a traceback where only we can."""

import errno
import os
import reprlib

LONGEST_LINE = 300  # characters of a line of a message
LONGEST_QUOTE, LONGEST_PATH = 80, 160  # characters of a wrong value, or of a path, that a message repeats
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REASONS = {  # what the operating system refused, and what to do about it
    errno.EACCES: "this user may not read or write it; change its permissions (chmod, chown)",
    errno.EPERM: "this user may not read or write it; change its permissions (chmod, chown)",
    errno.ENOENT: "not found; check that the path is right",
    errno.EISDIR: "expected a file, got a folder; move it away, or name another path",
    errno.ENOTDIR: "expected a folder, got a file in its place; move it away, or name another path",
    errno.EEXIST: "expected a folder or nothing, got a file in its place; move it away",
    errno.ENOTEMPTY: "expected an empty folder; move away what it holds",
    errno.ENAMETOOLONG: "the path is too long for this file system; shorten it",
    errno.ELOOP: "its symbolic links lead in a circle; mend them",
    errno.EROFS: "its file system is read-only; mount it for writing, or name another path",
    errno.ENXIO: "expected a file, got a pipe or socket that nobody serves; name another path",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EIO: "the disk reports an error; check it (dmesg), and use another one",
    errno.ESTALE: "the network file system lost it; mount it again, and run the same command again",
} | dict.fromkeys(FULL_DISK, "no space left on the disk; free some and run the same command again")
NEEDS_NO_PATH = (*FULL_DISK, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EROFS, errno.ESTALE)


class UserError(Exception):
    """A mistake that a user can mend: says what, expected, got and the remedy.

    What a terminal would obey is escaped. A line of more than `LONGEST_LINE` characters loses its middle, so that
    the remedy at its end stays.
    """

    def __init__(self, message: str):
        super().__init__("\n".join(shorten(_printable(line), LONGEST_LINE) for line in message.split("\n")))


class StoppedError(Exception):
    """The run was asked to stop by a signal, and did; it ends as a program does that the signal ended."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def explain(error: Exception) -> str | None:
    """What to tell a user of an error; None for a mistake of ours, which needs its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return _explain_os_error(error)
    return None


def _explain_os_error(error: OSError) -> str | None:
    """One line for an error that names a path, or that no path is needed to understand."""
    named = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    if not named and error.errno not in NEEDS_NO_PATH:
        return None
    paths = " and ".join(quote_path(os.fsdecode(name)) for name in named) or "a file"
    reason = REASONS.get(error.errno or 0) or f"{error.strerror or error}; check the path"
    return shorten(f"{paths}: {reason}", LONGEST_LINE)


def quote_path(path: str | os.PathLike[str]) -> str:
    """A path as a message shows it: as it is, but on one line and not too long."""
    text = os.fspath(path)
    return shorten(text if text.isprintable() else ascii(text), LONGEST_PATH) or "''"


def quote(value: object) -> str:
    """A wrong value as a message shows it: on one line and not too long, whatever it is."""
    try:
        return shorten(_BRIEF.repr(value), LONGEST_QUOTE)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"a value of type {type(value).__name__}"


def one_line(text: str) -> str:
    """A text by another hand as one line of at most `LONGEST_LINE` characters, none of which a terminal obeys."""
    return shorten(_printable(" ".join(text.split())), LONGEST_LINE)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(text: str, longest: int) -> str:
    """`text` without its middle where it has more than `longest` characters."""
    if len(text) <= longest:
        return text
    gap = " ... "
    tail = (longest - len(gap)) // 2
    return text[: longest - len(gap) - tail] + gap + text[-tail:]


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = LONGEST_QUOTE
