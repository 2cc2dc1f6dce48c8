"""What keeps other web pages out of a server that only this machine reaches, and every answer well formed.

A page of any site may send requests to a loopback address, and a name that it owns may be made to point there
(DNS rebinding). So a request must be addressed to this machine by its own name, and must not come from
another origin. No answer allows a browser to load anything from elsewhere.
"""

import logging
import re

from aiohttp import web
from aiohttp.typedefs import Handler

log = logging.getLogger("tinylm")

OWN_NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # another version's page must not meet this server
    "Server": "tinylm",
}


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as `{"error": ...}`; what nobody foresaw is logged, and the server lives on."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return problem(error.status, f"{request.method} {request.path}: {error.reason}", kept)
    except ConnectionError:  # the client has gone
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "the server failed; its log has the reason")


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if not OWN_NAMES.fullmatch(host):
        return problem(403, "this server answers to 127.0.0.1 and localhost only")
    site = request.headers.get("Sec-Fetch-Site", "none")
    followed_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if origin not in (None, f"http://{host}") or (site not in ("same-origin", "none") and not followed_link):
        return problem(403, "this server answers to its own page only")
    return await handler(request)
