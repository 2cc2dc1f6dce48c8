"""Serve a local web page that generates stories."""

import argparse
import os
import socket
from typing import Any

from tinylm.base.errors import UserError
from tinylm.cli.model_option import add_model_option, open_model
from tinylm.cli.open import has_windows

LOOPBACK = "127.0.0.1"  # never any other address: the page is for users of this machine only
DEFAULT_PORT, LARGEST_PORT = 8000, 65535


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("serve", help="serve a local web page that generates stories", description=__doc__)
    add_model_option(parser)
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, metavar="N", help="%(default)s; 0: any free port")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")
    parser.add_argument("--compile", action="store_true", help="start half a minute later, and write twice as fast")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with _listen(options.port) as listening:  # first: loading a model takes longer
        import asyncio
        import logging

        from tinylm.serve.defaults import read_defaults
        from tinylm.serve.description import describe
        from tinylm.serve.server import serve

        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        if options.compile:
            print("compiling the model, which takes about half a minute", flush=True)
        generator = open_model(options.model, options.compile, options.end_of_text)
        defaults = read_defaults(options.model, generator.model.params.context)
        address = f"http://{LOOPBACK}:{listening.getsockname()[1]}"

        def ready() -> None:
            print(f"{address} serves {options.model}; Ctrl-C stops it", flush=True)
            if not options.no_browser and has_windows():
                _show(address)

        asyncio.run(serve(generator, describe(generator, options.model, defaults), listening, ready))
    return 0


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except PermissionError:
        raise UserError(f"--port: expected a port that you may use, got {port}; use one above 1023") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UserError(f"--port: expected a free port, got {port} ({reason}); use --port 0 for any free one") from None


def _show(address: str) -> None:
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # it may block for a while


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {LARGEST_PORT}, got {text!r}")
    return int(text)
