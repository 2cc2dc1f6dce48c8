"""The encoding of what is printed."""

import io
import sys


def use_utf8() -> None:
    """Print UTF-8 on Windows, into files and pipes too, as stories have characters that its code pages lack.

    The console takes any character anyway. From version 3.15 on, Python prints UTF-8 on every system (PEP 686).
    """
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")
