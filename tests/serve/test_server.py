"""The server: many clients at once, bad input, clients that disconnect, other pages that try to reach it."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support import tiny
from tests.support.serving import DEFAULTS, Gate, gated, serving
from tinylm.base.fields import LONGEST_PROMPT
from tinylm.sampling import streaming
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.streaming import TextGenerator, open_generator
from tinylm.serve import server
from tinylm.serve.connections import MOST, SPARE, most_connections

Event = dict[str, Any]
Client = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> TextGenerator:
    return open_generator(tiny_model)


@pytest.fixture
def address(generator: TextGenerator) -> Iterator[str]:
    with serving(generator) as address:
        yield address


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gated(monkeypatch) as gate:
        yield gate


def story_alone(generator: TextGenerator, prompt: str, seed: int) -> str:
    stream = generator.stream(GenerationRequest.of(DEFAULTS | {"prompt": prompt, "seed": seed}))
    return stream.prompt + "".join(stream)


def connect(address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def visit(address: str, client: Client) -> Any:
    """Run a client with a session to the server; return its result."""

    async def run() -> Any:
        async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=20)) as session:
            return await client(session)

    return asyncio.run(run())


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    async for line in response.content:
        yield json.loads(line)


async def write(session: aiohttp.ClientSession, **values: Any) -> list[Event] | int:
    """Return all events of a story, or the status if it is refused."""
    async with session.post("/stories", json=values) as response:
        return [event async for event in events_of(response)] if response.ok else response.status


def text_of(events: list[Event]) -> str:
    begun = next(event for event in events if event["event"] == "begun")
    return begun["prompt"] + "".join(event["text"] for event in events if event["event"] == "text")


def test_a_story_is_streamed_in_pieces_and_equals_the_generators(address: str, generator: TextGenerator) -> None:
    events = visit(address, lambda session: write(session, prompt="Lily 😀", seed=5))
    assert events[0] == {"event": "begun", "prompt": "Lily 😀", "seed": 5}
    assert {event["event"] for event in events[1:-1]} == {"text"}
    assert len(events) > 5
    assert text_of(events) == story_alone(generator, "Lily 😀", 5)
    done = events[-1]
    assert (done["event"], done["tokens"] <= 60, done["tokens_per_second"] > 0) == ("done", True, True)


def seed_of(events: list[Event]) -> int:
    return next(event["seed"] for event in events if event["event"] == "begun")


def test_missing_fields_get_their_defaults(address: str) -> None:
    async def client(session: aiohttp.ClientSession) -> Any:
        return await write(session, prompt=""), await write(session, prompt="", seed=None), await write(session)

    first, other, without_prompt = visit(address, client)
    assert seed_of(first) != seed_of(other)
    assert first[-1]["tokens"] <= 60
    assert without_prompt == 400


def test_many_clients_at_once(generator: TextGenerator, gate: Gate) -> None:
    """One story is generated, eight wait and the rest are refused; none changes another's story."""
    alone = [story_alone(generator, "Tom", seed) for seed in range(24)]
    refused = asyncio.Event()
    answers: dict[int, Any] = {}

    async def one(session: aiohttp.ClientSession, seed: int) -> None:
        async with session.post("/stories", json={"prompt": "Tom", "seed": seed}) as response:
            if response.ok:
                answers[seed] = [event async for event in events_of(response)]
            else:
                answers[seed] = response.status, response.headers["Retry-After"], (await response.json())["error"]
                if len(answers) == 24 - 9:
                    refused.set()

    async def client(session: aiohttp.ClientSession) -> None:
        asking = [asyncio.create_task(one(session, seed)) for seed in range(24)]
        await asyncio.wait_for(refused.wait(), 10)
        gate.open()
        await asyncio.gather(*asking)

    with serving(generator) as address:
        visit(address, client)
    stories = {seed: answer for seed, answer in answers.items() if isinstance(answer, list)}
    assert len(stories) == 9
    for seed, events in stories.items():
        assert text_of(events) == alone[seed]
    before = sorted(events[0].get("before", 0) for events in stories.values())
    assert before == list(range(9))
    for events in stories.values():  # each client follows how the queue before it shrinks
        positions = [event["before"] for event in events if event["event"] == "waiting"]
        assert positions == sorted(positions, reverse=True)
        assert not positions or positions[-1] == 1
    message = "busy: one story is being generated, 8 waiting; try again in 5 seconds"
    assert all(answer == (503, "5", message) for answer in answers.values() if isinstance(answer, tuple))


def test_a_client_that_disconnects_frees_its_position(generator: TextGenerator, gate: Gate) -> None:
    alone = story_alone(generator, "Ann", 3)

    async def client(session: aiohttp.ClientSession) -> list[Event]:
        first = await session.post("/stories", json={"prompt": "Tom", "seed": 1, "max_tokens": 200})
        second = await session.post("/stories", json={"prompt": "Tom", "seed": 2})
        third = await session.post("/stories", json={"prompt": "Ann", "seed": 3})
        first_events, events = events_of(first), events_of(third)
        gate.let_through(5)
        while (await anext(first_events))["event"] != "text":
            pass
        assert await anext(events) == {"event": "waiting", "before": 2}
        second.close()  # while it waits
        assert await anext(events) == {"event": "waiting", "before": 1}
        first.close()  # while it is generated
        assert await asyncio.to_thread(gate.jobs[0].abandoned.wait, 20)
        gate.let_through(1)
        assert (await anext(events))["event"] == "begun"
        assert gate.drawn <= 7
        gate.open()
        return [event async for event in events]

    with serving(generator, most_waiting=2) as address:
        events = visit(address, client)
    assert "Ann" + "".join(event["text"] for event in events[:-1]) == alone


def test_an_error_of_the_model_ends_one_story_only(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Iterator[int]:
        yield 5
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "stream", broken)
        events = visit(address, lambda session: write(session, prompt="Tom"))
    assert events[-1] == {"event": "failed", "error": "the model failed; see the server's log"}
    assert "out of memory" in caplog.text
    assert visit(address, lambda session: write(session, prompt="Tom"))[-1]["event"] == "done"


def test_an_error_of_the_server_is_reported_and_logged(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_parse", lambda *_: 1 / 0)
    assert visit(address, lambda session: write(session, prompt="Tom")) == 500
    assert "ZeroDivisionError" in caplog.text


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "body: expected JSON in UTF-8, got: "),
        (b"{", 400, "body: expected JSON in UTF-8, got: "),
        (b"[" * 9000, 400, "body: expected JSON in UTF-8, got: recursion limit"),
        (b'{"prompt": "\xff"}', 400, "body: expected JSON in UTF-8, got: "),
        (b'{"prompt": "\\ud800"}', 400, "body: expected JSON in UTF-8, got: "),
        (b"[1]", 400, "body: expected a JSON object, got list"),
        (b'{"prompt": "a\\u0000"}', 400, "prompt: expected text without control characters, got U+0000"),
        (b'{"prompt": null}', 400, "prompt: expected text, got null"),
        (b'{"prompt": "", "temperature": "hot"}', 400, "temperature: expected a number, got 'hot'"),
        (b'{"prompt": "", "temperature": NaN}', 400, "temperature: expected a finite number, got nan"),
        (b'{"prompt": "", "seed": 1e999}', 400, "seed: expected a "),
        (b'{"prompt": "", "seed": ' + b"9" * 5000 + b"}", 400, "body: expected JSON"),
        (b'{"prompt": "", "colour": 1}', 400, "colour: unknown key"),
        (json.dumps({"prompt": "x" * 60}).encode(), 400, "prompt: expected fewer than 60 tokens"),
        (json.dumps({"prompt": "x" * 4001}).encode(), 400, "prompt: expected at most 4000 characters, got 4001"),
        (
            json.dumps({"prompt": "😀" * LONGEST_PROMPT, "seed": 1}, ensure_ascii=False).encode(),
            400,
            "prompt: expected fewer than 60 tokens",
        ),
        (b'{"prompt": "' + b"x" * 17_000 + b'"}', 413, "body: expected at most 16384 bytes, got more"),
    ],
    ids=lambda value: value[:24].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_bad_input_is_refused_in_one_line(address: str, body: bytes, status: int, message: str) -> None:
    async def client(session: aiohttp.ClientSession) -> None:
        async with session.post("/stories", data=body, headers=JSON) as response:
            error = (await response.json())["error"]
            assert (response.status, error[: len(message)]) == (status, message)
            assert error.isprintable()
        assert isinstance(await write(session, prompt="Tom"), list)  # and the server continues

    visit(address, client)


# Without base-uri, form-action and frame-ancestors, default-src leaves all three open.
POLICY = {
    *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"),
    *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
}
GUARDS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Server": "tinylm",
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", {"Host": "localhost:8000"}, 200),
        ("GET", "/", {"Host": "[::1]:8000"}, 200),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/", {"Host": "localhost:8000@evil.example"}, 403),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", "/page.js", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", "/model", {"Origin": "https://evil.example"}, 403),
        ("POST", "/stories", {"Origin": "https://evil.example"}, 403),
        ("POST", "/stories", {"Origin": "null"}, 403),
        ("POST", "/stories", {"Origin": "http://localhost:1"}, 403),
        ("POST", "/stories", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/stories", {"Content-Type": "text/plain"}, 415),
        ("GET", "/stories", {}, 405),
        ("DELETE", "/", {}, 405),
        ("GET", "/favicon.ico", {}, 404),
        ("GET", "/server.py", {}, 404),
        ("GET", "/../server.py", {}, 404),
        ("GET", "/%2e%2e/server.py", {}, 404),
    ],
)
def test_who_may_request_what(address: str, method: str, path: str, headers: dict[str, str], status: int) -> None:
    async def client(session: aiohttp.ClientSession) -> None:
        body = json.dumps({"prompt": "Tom"}).encode() if method == "POST" else None
        async with session.request(method, path, data=body, headers=JSON | headers) as response:
            assert response.status == status
            assert set(response.headers["Content-Security-Policy"].split("; ")) == POLICY
            assert {name: response.headers[name] for name in GUARDS} == GUARDS
            if status >= 400:
                assert list(await response.json()) == ["error"]
            if status == 405:
                assert response.headers["Allow"]

    visit(address, client)


def test_a_request_body_that_never_arrives_times_out(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    head = "POST /stories HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with connect(address) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: local", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET"]
)
def test_a_request_head_that_never_arrives(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with serving(generator) as address, connect(address) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ") == sent.endswith(b"GET")


def test_too_many_connections_are_refused(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Open connections are still answered while others are refused."""
    monkeypatch.setattr(server, "most_connections", lambda: 3)
    with serving(generator) as address, contextlib.ExitStack() as stack:
        first = [stack.enter_context(connect(address)) for _ in range(3)]
        for connection in first:
            connection.sendall(b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        for _ in range(40):
            head, _, body = read_all(stack.enter_context(connect(address))).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert f"Content-Length: {len(body)}".encode() in head
            assert json.loads(body) == {"error": "busy: too many connections"}
        first[0].close()
        deadline, status = time.monotonic() + 20, 503
        while status == 503 and time.monotonic() < deadline:  # until the server has noticed
            with contextlib.suppress(urllib.error.HTTPError, ConnectionError):
                status = urllib.request.urlopen(f"{address}/model", timeout=10).status
        assert status == 200
    assert not caplog.records


def test_connections_leave_descriptors_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = [128]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit[0], limit[0]))
    used = len(os.listdir("/proc/self/fd"))
    assert most_connections() == pytest.approx(max(1, min(MOST, 128 - used - SPARE)), abs=2)
    limit[0] = 20
    assert most_connections() == 1
    limit[0] = resource.RLIM_INFINITY
    assert most_connections() == MOST
    limit[0] = 20
    monkeypatch.setattr(sys, "platform", "win32")  # has no such limit
    assert most_connections() == MOST


def test_a_server_with_few_descriptors_refuses_connections_and_logs_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """Also if many connect at once. It used to log thousands of errors per second, as it could accept no more."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); from tinylm.cli.main import main; "
        f"main(['serve', '--model', {str(tiny_model)!r}, '--port', '0', '--no-browser'])"
    )
    environ = os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(tmp_path / "log", "w+"))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": log, "text": True}
        command = [sys.executable, "-c", code]
        process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, env=environ, **pipes))
        stack.callback(process.kill)  # if a test fails, do not wait for the server
        assert process.stdout
        address = process.stdout.readline().split()[0]
        answers = []
        for _ in range(130):
            connection = stack.enter_context(connect(address))
            with contextlib.suppress(ConnectionError):  # it may be refused before the request is sent
                connection.sendall(b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answers.append(connection.recv(100)[:13])
        assert set(answers) == {b"HTTP/1.1 200 ", b"HTTP/1.1 503 "}
        process.send_signal(signal.SIGSTOP)
        waiting = [stack.enter_context(socket.socket()) for _ in range(60)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", int(address.rpartition(":")[2])))
        process.send_signal(signal.SIGCONT)
        waiting[0].settimeout(20)
        waiting[0].recv(100)  # returns when the server has refused it
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        log.seek(0)
        assert log.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_server_whose_loop_takes_no_signal_handlers(tiny_model: Path, number: signal.Signals) -> None:
    """As on Windows, where asyncio raises NotImplementedError."""
    code = (
        "import asyncio\n"
        "def refuse(*_): raise NotImplementedError\n"
        "asyncio.SelectorEventLoop.add_signal_handler = refuse\n"
        "from tinylm.cli.main import main\n"
        f"raise SystemExit(main(['serve', '--model', {str(tiny_model)!r}, '--port', '0', '--no-browser']))"
    )
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tiny.ROOT, env=environ, **pipes) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # if a test fails, do not wait for the server
        assert process.stdout
        address = process.stdout.readline().split()[0]
        with connect(address):  # an open connection does not keep it
            process.send_signal(number)
            output, errors = process.communicate(timeout=40)
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_stories(tiny_model: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tinylm", "serve", "--model", str(tiny_model), "--port", "0", "--no-browser"]
    environ = os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, **pipes) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # if a test fails, do not wait for the server
        assert process.stdout
        address = process.stdout.readline().split()[0]
        port = int(address.rpartition(":")[2])
        sockets = psutil.Process(process.pid).net_connections()
        listening = [entry.laddr for entry in sockets if not entry.raddr]
        assert listening == [("127.0.0.1", port)]
        taken = subprocess.run([*command[:-2], str(port)], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert taken.returncode == 1
        expected = f"error: --port: expected a free port, got {port} (Address already in use); use --port 0"
        assert taken.stderr.startswith(expected)
        with urllib.request.urlopen(f"{address}/model", timeout=10) as response:
            assert json.load(response)["defaults"]["temperature"] == 1.0
        process.send_signal(number)
        output, errors = process.communicate(timeout=40)  # aiohttp by itself would wait 60 s for open connections
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_story_in_progress_when_the_server_shuts_down(generator: TextGenerator, gate: Gate) -> None:
    begun, events = threading.Event(), []

    async def client(session: aiohttp.ClientSession) -> None:
        async with session.post("/stories", json={"prompt": "Tom"}) as response:
            async for event in events_of(response):
                events.append(event)
                begun.set()

    with serving(generator) as address:
        reader = threading.Thread(target=visit, args=(address, client))
        reader.start()
        assert begun.wait(10)
        threading.Timer(0.2, gate.open).start()  # the model is busy with a token when the server shuts down
    reader.join(10)
    assert events[-1] == {"event": "failed", "error": "the server is shutting down"}


def test_an_installed_package_includes_the_page(tmp_path: Path) -> None:
    build_meta = pytest.importorskip("setuptools.build_meta")
    assert build_meta
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_bytes((tiny.ROOT / name).read_bytes())
    for path in (tiny.ROOT / "tinylm").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = tmp_path / path.relative_to(tiny.ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    code = "import setuptools.build_meta as build; build.build_wheel('wheels')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    with zipfile.ZipFile(next((tmp_path / "wheels").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {f"tinylm/serve/static/{name}" for name in server.PAGE.values()} <= names
    assert "tinylm/cli/serve.py" in names
