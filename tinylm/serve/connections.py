"""How many connections are open at once: a process out of descriptors could neither answer nor accept.

asyncio goes on accepting then, in vain, and logs each time. So connections beyond a limit are refused, as long
as there are descriptors to refuse them with.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

BACKLOG = 8  # connections that are accepted, or wait to be, in one round
MOST = 64  # browsers open six each
SPARE = 4 * BACKLOG  # descriptors: rounds of refusals that are being sent, and files of the page
BODY = b'{"error": "busy: too many connections"}'
HEAD = (
    f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    "Connection: close\r\n\r\n"
).encode()


def most_connections() -> int:
    """As many as this process has descriptors for."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else SPARE
    except ImportError:  # Windows has no such limit
        return MOST
    return MOST if limit < 0 else max(1, min(MOST, limit - used - SPARE))


class Refusal(asyncio.Protocol):
    """A connection that is told at once that there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(HEAD + BODY)
        transport.close()


def limited(
    answer: Callable[[], asyncio.Protocol], connected: Callable[[], int], most: int
) -> Callable[[], asyncio.Protocol]:
    """Makes the protocol of a new connection: that of `answer` as long as fewer than `most` are `connected`."""
    return lambda: answer() if connected() < most else Refusal()
