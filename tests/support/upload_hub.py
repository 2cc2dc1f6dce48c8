"""A server that speaks the Hub's API for uploads, as huggingface_hub calls it: large files go to LFS or to Xet."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

USERS = {
    "hf_julia": {"name": "julia", "orgs": [], "auth": {"accessToken": {"role": "write"}}},
    "hf_reader": {"name": "julia", "orgs": [], "auth": {"accessToken": {"role": "read"}}},
    "hf_fine": {"name": "julia", "orgs": [], "auth": {"accessToken": {"role": "fineGrained"}}},
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CUT = "cut"  # a fault that breaks the connection


@dataclass
class Repository:
    """The files of a repository by name, and whether others can see them."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs"})
    commits: int = 0


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path match `pattern`."""

    pattern: str
    answer: int | str  # a status, or CUT
    times: int
    message: str


class UploadHub(ThreadingHTTPServer):
    """Keeps what is sent to it, and the requests that sent it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}  # large files by SHA-256 (LFS), and blocks by Xet's hash
        self.requests: list[tuple[str, int]] = []  # method and path, and the bytes of the body
        self.faults: list[Fault] = []
        self.warnings: list[str] = []  # about a card

    def fail(self, pattern: str, answer: int | str, times: int = 1, message: str = "No.") -> None:
        """Answer the next `times` matching requests with a status, or break their connection."""
        self.faults.append(Fault(pattern, answer, times, message))

    def sent(self, pattern: str) -> int:
        """Return how many matching requests have come."""
        return sum(bool(re.match(pattern, line)) for line, _ in self.requests)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: clients may disconnect."""


@contextlib.contextmanager
def upload_hub() -> Iterator[UploadHub]:
    """Run a hub for the duration of a `with` block."""
    with UploadHub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UploadHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""

    def do_GET(self) -> None:
        hub, path = self.server, urlparse(self.path).path
        line = f"{self.command} {path}"
        if fault := next((each for each in hub.faults if each.times and re.match(each.pattern, line)), None):
            fault.times -= 1
            if fault.answer == CUT:
                self.rfile.read(int(self.headers["Content-Length"]) // 2)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._body()
            self._json(int(fault.answer), {"error": fault.message}, {"X-Error-Message": fault.message})
            return
        body = self._body()
        hub.requests.append((line, len(body)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith(("/stored/", "/cas/")):
            self._store(path, body)
        elif token not in USERS:
            self._json(401, {"error": "Invalid username or password."})
        else:
            self._api(path, body, USERS[token]["name"])

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def _api(self, path: str, body: bytes, user: Any) -> None:
        """Answer a request of the Hub's own API."""
        hub = self.server
        if path == "/api/whoami-v2":
            return self._json(200, USERS[self.headers["Authorization"].removeprefix("Bearer ")])
        if path == "/api/validate-yaml":
            return self._json(200, {"warnings": [{"message": text} for text in hub.warnings], "errors": []})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if wanted["organization"] != user:
                return self._json(403, {}, {"X-Error-Message": "You don't have the rights to create a model there"})
            hub.repositories.setdefault(name, Repository(wanted.get("visibility") == "private"))
            return self._json(200, {"url": f"{hub.endpoint}/{name}"})
        if found := re.match(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?(?:/(.*))?$", path):
            name, rest = found[1], found[2] or ""
            if name in hub.repositories:
                return self._repository(hub.repositories[name], name, rest, body)
        return self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def _repository(self, repository: Repository, name: str, rest: str, body: bytes) -> None:
        match rest:
            case "":
                self._json(200, {"id": name, "sha": COMMIT, "private": repository.private, "siblings": []})
            case "tree/main":
                self._json(200, [_entry(*file) for file in repository.files.items()])
            case "preupload/main":
                files = [
                    {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False, "oid": None}
                    for file in json.loads(body)["files"]
                ]
                self._json(200, {"files": files})
            case "info/lfs/objects/batch":
                self._json(200, {"objects": [self._lfs(each) for each in json.loads(body)["objects"]]})
            case "xet-write-token/main":
                cas, until = f"{self.server.endpoint}/cas", int(time.time()) + 3600
                headers = {"X-Xet-Cas-Url": cas, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(until)}
                self._json(200, {"casUrl": cas, "accessToken": "xet", "exp": until}, headers)
            case "commit/main":
                self._commit(repository, name, [json.loads(line) for line in body.splitlines()])
            case _:
                self._json(404, {"error": rest})

    def _lfs(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return where to send a large file; nowhere, if it is stored already."""
        oid = wanted["oid"]
        upload = {"upload": {"href": f"{self.server.endpoint}/stored/{oid}"}}
        return {"oid": oid, "size": wanted["size"]} | ({} if oid in self.server.stored else {"actions": upload})

    def _store(self, path: str, body: bytes) -> None:
        """Store a large file (LFS), or answer as the storage of Xet."""
        hub = self.server
        kind, _, key = path.removeprefix("/cas/v1/").partition("/")
        if path.startswith("/stored/"):
            oid = path.removeprefix("/stored/")
            assert hashlib.sha256(body).hexdigest() == oid
            hub.stored[oid] = body
            self._json(200, {})
        elif kind == "xorb-grants" and key in hub.stored:
            self._json(200, {"was_inserted": False})
        elif kind == "xorbs":
            new, hub.stored[key] = key not in hub.stored, body
            self._json(200, {"was_inserted": new})
        elif kind == "shards":
            self._json(200, {"result": 1})
        else:  # the client falls back to older versions of the protocol
            self._json(404, {})

    def _commit(self, repository: Repository, name: str, lines: list[dict[str, Any]]) -> None:
        """Make a commit. Of a file in Xet only the checksum is known, and stands for its content."""
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                repository.files[value["path"]] = self.server.stored.get(value["oid"], _Large(value))
        repository.commits += 1
        url = f"{self.server.endpoint}/{name}/commit/{COMMIT}"
        self._json(200, {"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = list[bytes]()
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in ((headers or {}) | {"Content-Type": "application/json"}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Large(bytes):
    """A file whose content is in blocks: its checksum and size as the client has sent them."""

    def __new__(cls, value: dict[str, Any]) -> "_Large":
        made = super().__new__(cls, bytes.fromhex(value["oid"]))
        made.oid, made.size = value["oid"], value["size"]  # type: ignore[attr-defined]
        return made


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """Return a file as the tree of a repository lists it."""
    oid = getattr(content, "oid", hashlib.sha256(content).hexdigest())
    size = getattr(content, "size", len(content))
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": size, "oid": blob}
    return entry | ({"lfs": {"oid": oid, "size": size, "pointerSize": 134}} if _mode(path) == "lfs" else {})
