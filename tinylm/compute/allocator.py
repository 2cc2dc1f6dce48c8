"""Memory that was freed is kept, where the C library would give it back to the system after each step."""

import ctypes
import platform

# mallopt's parameters, from glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Have glibc serve large tensors from memory it holds, and hold on to what was freed.

    It maps large blocks anew for each tensor otherwise, and the system clears every page of them: a tenth
    of a training step on a CPU. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(TOP_PAD, 64 << 20)
