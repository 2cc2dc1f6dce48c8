"""Protect the local server from other web pages, and answer every error as JSON.

Any web page can send requests to a loopback address, and can point a domain name of its own there (DNS
rebinding). So a request must address this machine by its own name and must not come from another origin. The
headers of every response forbid the browser to load anything from elsewhere.
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
    "Cache-Control": "no-store",  # a cached page of another version must not talk to this server
    "Server": "tinylm",
}


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response."""
    response.headers.update(HEADERS)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error response: `{"error": message}`."""
    return web.json_response({"error": message}, status=status, headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as `{"error": ...}`; unexpected ones are logged, and the server continues."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return problem(error.status, f"{request.method} {request.path}: {error.reason}", kept)
    except ConnectionError:  # the client has disconnected
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "the server failed; see its log")


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that another web page sent, or that address this machine by a foreign name."""
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if not OWN_NAMES.fullmatch(host):
        return problem(403, "this server answers to 127.0.0.1 and localhost only")
    site = request.headers.get("Sec-Fetch-Site", "none")
    followed_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if origin not in (None, f"http://{host}") or (site not in ("same-origin", "none") and not followed_link):
        return problem(403, "this server answers to its own page only")
    return await handler(request)
