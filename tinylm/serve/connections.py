"""Limit the number of open connections: a process out of file descriptors can neither answer nor accept.

asyncio would keep trying to accept and log an error each time. So connections beyond a limit are refused while
there are still descriptors to refuse them with.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

BACKLOG = 8  # connections that wait to be accepted, and that asyncio accepts in one round
MOST = 64  # a browser opens up to six
SPARE = 4 * BACKLOG  # descriptors kept free for refusals that are being sent and for the page's files
BODY = b'{"error": "busy: too many connections"}'
HEAD = (
    f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    "Connection: close\r\n\r\n"
).encode()


def most_connections() -> int:
    """Return how many connections this process has descriptors for, at most MOST."""
    if sys.platform == "win32":  # has no such limit
        return MOST
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else SPARE
    return MOST if limit < 0 else max(1, min(MOST, limit - used - SPARE))


class Refusal(asyncio.Protocol):
    """A connection that is refused at once because there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(HEAD + BODY)
        transport.close()


def limited(
    answer: Callable[[], asyncio.Protocol], connected: Callable[[], int], most: int
) -> Callable[[], asyncio.Protocol]:
    """Return a protocol factory: `answer` as long as fewer than `most` are `connected`, else Refusal."""
    return lambda: answer() if connected() < most else Refusal()
