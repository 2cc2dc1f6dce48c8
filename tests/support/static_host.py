"""A plain static host on loopback: it serves files below any path, and sends no headers of its own."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class StaticHost(ThreadingHTTPServer):
    """Serves a folder; some files may be missing or cut off, by their path below it."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.missing: set[str] = set()
        self.cut: set[str] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves a page closes its connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    server: StaticHost

    def __init__(self, *arguments: Any):
        super().__init__(*arguments, directory=str(arguments[2].folder))

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        if name in self.server.missing:
            self.send_error(404)
        elif name in self.server.cut:
            content = (self.server.folder / name).read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output short."""


@contextlib.contextmanager
def hosting(folder: Path) -> Iterator[StaticHost]:
    """Run a host in a thread."""
    with StaticHost(folder) as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            host.shutdown()
            thread.join()
