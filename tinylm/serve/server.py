"""The HTTP server: the page, a description of the model, and stories.

A story is streamed as JSON lines (NDJSON) in the response to the POST that requests it. Server-sent events would be
a GET, which a browser repeats automatically when the connection is lost: it would generate another story.
"""

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic_core
from aiohttp import web

from tinylm.base.errors import UserError
from tinylm.compute.signals import SIGNALS
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.streaming import TextGenerator
from tinylm.serve.connections import BACKLOG, limited, most_connections
from tinylm.serve.guards import add_headers, errors_as_json, own_pages_only, problem
from tinylm.serve.queue import MOST_WAITING, BusyError, RequestQueue

LONGEST_BODY = 16 * 1024  # of a request [bytes]
HEAD_SECONDS = 10.0  # timeout for a connection's next request and its headers
BODY_SECONDS = 10.0  # timeout for the body of a request
RETRY_SECONDS = 5  # when a refused client may try again: about the time of a few stories
SHUTDOWN_SECONDS = 3.0  # time for responses to end when the server shuts down

FILES = Path(__file__).parent / "static"
PAGE = {"/": "page.html"} | {f"/{name}": name for name in ("page.css", "page.js", "writer.js", "icon.svg")}

DEFAULTS = web.AppKey("defaults", dict[str, Any])
DESCRIPTION = web.AppKey("description", dict[str, Any])
QUEUE = web.AppKey("queue", RequestQueue)
GENERATOR = web.AppKey("generator", TextGenerator)


def make_app(generator: TextGenerator, description: dict[str, Any], queue: RequestQueue) -> web.Application:
    """Return the web application that serves the page and the stories of `generator`."""
    app = web.Application(middlewares=[errors_as_json, own_pages_only], client_max_size=LONGEST_BODY)
    app[GENERATOR], app[DESCRIPTION], app[DEFAULTS], app[QUEUE] = generator, description, description["defaults"], queue
    app.on_response_prepare.append(add_headers)
    for path in PAGE:
        app.router.add_get(path, _send_file)
    app.router.add_get("/model", _send_description)
    app.router.add_post("/stories", _write_story)
    return app


async def serve(
    generator: TextGenerator,
    description: dict[str, Any],
    listening: socket.socket,
    ready: Callable[[], None],
    most_waiting: int = MOST_WAITING,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve on the socket `listening` until SIGINT or SIGTERM, or until `stop` is set.

    `ready` is called when the server accepts requests.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in SIGNALS:
            _call_on(number, stop.set)
    async with RequestQueue(most_waiting) as queue:
        # A handler is cancelled when its client disconnects, which frees its position in the queue at once.
        runner = web.AppRunner(
            make_app(generator, description, queue),
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=HEAD_SECONDS,  # for aiohttp, also the timeout of a connection's first request
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        web_server = runner.server
        assert web_server
        make_protocol = limited(web_server, lambda: len(web_server.connections), most_connections())
        server = await asyncio.get_running_loop().create_server(make_protocol, sock=listening, backlog=BACKLOG)
        try:
            ready()
            await stop.wait()
            queue.close()
        finally:
            server.close()
            await runner.cleanup()


def _call_on(number: int, function: Callable[[], None]) -> None:
    """Call `function` in the running event loop when the signal arrives."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, function)
    except NotImplementedError:  # Windows, where a signal wakes the loop up
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(function))


async def _send_file(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(FILES / PAGE[request.path])


async def _send_description(request: web.Request) -> web.Response:
    return web.json_response(request.app[DESCRIPTION])


async def _write_story(request: web.Request) -> web.StreamResponse:
    if request.content_type != "application/json":
        return problem(415, f"Content-Type: expected application/json, got {request.content_type}")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return problem(413, f"body: expected at most {LONGEST_BODY} bytes, got more")
    except TimeoutError:
        return problem(408, f"the request did not arrive within {BODY_SECONDS:g} seconds")
    try:
        stream = request.app[GENERATOR].stream(_parse(body, request.app[DEFAULTS]))
        async with request.app[QUEUE].submit(stream) as events:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            async for event in events:
                await response.write(json.dumps(event).encode() + b"\n")
    except UserError as error:
        return problem(400, str(error))
    except BusyError as busy:
        message = f"busy: {busy}; try again in {RETRY_SECONDS} seconds"
        return problem(503, message, {"Retry-After": str(RETRY_SECONDS)})
    except ConnectionError:
        return response  # the client has disconnected
    return response


def _parse(body: bytes, defaults: dict[str, Any]) -> GenerationRequest:
    """Parse the JSON body of a request; missing fields get their defaults. Raises UserError."""
    try:
        values = pydantic_core.from_json(body)
    except ValueError as error:
        raise UserError(f"body: expected JSON in UTF-8, got: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"body: expected a JSON object, got {type(values).__name__}")
    return GenerationRequest.of(defaults | values)
