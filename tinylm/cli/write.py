"""`python -m tinylm write`: stories on the terminal, token by token.

Standard output holds the stories alone; what is to be said of them goes to standard error.
"""

import argparse
import io
import sys
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinylm.cli.model_option import add_model_option, open_model

if TYPE_CHECKING:
    from tinylm.sampling.writer import Writing

FIELDS = ("temperature", "top_k", "top_p", "max_tokens", "seed")  # of a WritingRequest, and options here
SEPARATOR = "<|endoftext|>"  # between stories, as in the .txt files that the pipeline reads
NO_LIMIT = "none"  # the word that lifts a limit


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("write", help="write stories to the terminal", description=__doc__)
    parser.add_argument("prompt", nargs="?", default="", help="how the story begins; without it the model begins")
    add_model_option(parser)
    parser.add_argument("--temperature", type=float, metavar="T", help="0: the likeliest token; 1: as the model has it")
    parser.add_argument("--top-k", type=_number_or_none(int), metavar="K", help="draw from the K likeliest, or none")
    parser.add_argument(
        "--top-p", type=_number_or_none(float), metavar="P", help="draw from the likeliest of probability P, or none"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same story again")
    parser.add_argument("--count", type=_count, default=1, metavar="N", help="stories (%(default)s)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest story, its beginning included")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tinylm.sampling.request import WritingRequest
    from tinylm.serve.defaults import NEUTRAL, read_defaults

    given = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    given = {name: None if value == NO_LIMIT else value for name, value in given.items()}
    given["prompt"] = options.prompt
    WritingRequest.of(NEUTRAL | given)  # mistakes are told before the model is loaded, which takes seconds
    writer = open_model(options.model)
    defaults = read_defaults(options.model, writer.model.params.context)
    request = WritingRequest.of(defaults | given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode ends no story
    for number in range(options.count):
        writing = writer.begin(request, number)
        if number == 0:
            request = request.model_copy(update={"seed": writing.seed})  # one seed for all
            _note(f"seed {writing.seed}, temperature {request.temperature:g}{_limits(request.top_k, request.top_p)}")
        else:
            print(SEPARATOR)
        _write(writing)
    return 0


def _write(writing: "Writing") -> None:
    show = _printable if sys.stdout.isatty() else str
    print(show(writing.prompt), end="", flush=True)
    for piece in writing:
        print(show(piece), end="", flush=True)
    print(flush=True)
    how = "ended by itself" if writing.ended else "cut at the longest"
    _note(f"{how}: {writing.tokens} tokens, {writing.tokens_per_second:,.0f} tokens/s")


def _note(text: str) -> None:
    print(f"[{text}]", file=sys.stderr, flush=True)


def _limits(top_k: int | None, top_p: float | None) -> str:
    return "".join(f", {name} {value:g}" for name, value in (("top-k", top_k), ("top-p", top_p)) if value is not None)


def _printable(text: str) -> str:
    """Without what a terminal would obey: an untrained model writes such characters too."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\t\n" else c for c in text)


def _number_or_none(number: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text == NO_LIMIT:
            return NO_LIMIT
        try:
            return number(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number or `{NO_LIMIT}`, got {text!r}") from None

    return parse


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return count
