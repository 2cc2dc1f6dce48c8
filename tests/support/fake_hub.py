"""A server with the part of the Hugging Face Hub's protocol that `datasets` and huggingface_hub need."""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

REPOSITORY = "roneneldan/TinyStories"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = (COMMIT, "main")


class FakeHub(ThreadingHTTPServer):
    """Serves `files` (path in the repository: content) and drops connections on request."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.reset()

    def reset(self) -> None:
        self.served = 0  # bytes of data files
        self.requests: list[str] = []  # requested data files, in order, with their range
        self.cut_after: int | None = None  # bytes of data files after which the connection breaks
        self.cuts = 0  # how many more connections break there
        self.portal = False  # answer every request with a page, as a hotel's network does

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def cdn(self) -> str:
        """The base URL of data files: on another host, as huggingface_hub expects the Hub's headers on its own."""
        return f"http://localhost:{self.server_port}/cdn"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: clients may disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        paths = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        self._json([entry for entry in self._tree("", recursive=True) if entry["path"] in paths])

    def do_GET(self) -> None:
        url = urlparse(self.path)
        path = unquote(url.path)
        if self.server.portal:
            self._answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif path.startswith("/cdn/"):
            self._data(path.removeprefix("/cdn/"))
        elif match := re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/([^/]+)/(.+)", path):
            self._if_revision(match[1], lambda: self._resolve(match[2]))
        elif match := re.fullmatch(rf"/api/datasets/{REPOSITORY}/revision/([^/]+)", path):
            siblings = [{"rfilename": name} for name in self.server.files]
            self._if_revision(match[1], lambda: self._json({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}))
        elif match := re.fullmatch(rf"/api/datasets/{REPOSITORY}/tree/([^/]+)/?(.*)", path):
            self._if_revision(match[1], lambda: self._json(self._tree(match[2], "recursive=true" in url.query)))
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _if_revision(self, revision: str, answer) -> None:  # type: ignore[no-untyped-def]
        if revision in REVISIONS:
            answer()
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

    def _resolve(self, name: str) -> None:
        """Serve small files directly; redirect to the CDN for data files."""
        content = self.server.files.get(name)
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if name == "README.md":
            return self._answer(200, content, headers)
        linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
        return self._answer(302, b"", headers | linked | {"Location": f"{self.server.cdn}/{name}"})

    def _data(self, name: str) -> None:
        content, headers, status = self.server.files[name], {"Accept-Ranges": "bytes"}, 200
        self.server.requests.append(f"{self.command} {name} {self.headers.get('Range', '')}".strip())
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._answer(status, content, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        hub = self.server
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.path.startswith("/cdn/"):
            if hub.cuts and hub.cut_after is not None and hub.served + len(body) > hub.cut_after:
                hub.cuts -= 1
                body, self.close_connection = body[: max(hub.cut_after - hub.served, 0)], True
            hub.served += len(body)
        self.wfile.write(body)

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _tree(self, folder: str, recursive: bool) -> list[dict[str, object]]:
        inside = folder + "/" if folder else ""
        names = [name for name in self.server.files if name.startswith(inside)]
        folders = sorted({inside + name.removeprefix(inside).split("/")[0] for name in names} - set(names))
        if not recursive:
            names = [name for name in names if "/" not in name.removeprefix(inside)]
        sizes = {name: len(self.server.files[name]) for name in names}
        files = [{"type": "file", "oid": "1" * 40, "path": name, "size": size} for name, size in sizes.items()]
        return [*files, *({"type": "directory", "oid": "2" * 40, "path": name, "size": 0} for name in folders)]
