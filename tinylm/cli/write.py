"""Generate stories on the terminal, token by token.

Standard output has only the stories; seed, settings and speed go to standard error.
"""

import argparse
import io
import sys
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinylm.cli.model_option import add_model_option, open_model

if TYPE_CHECKING:
    from tinylm.sampling.streaming import StoryStream

FIELDS = ("temperature", "top_k", "top_p", "max_tokens", "seed")  # fields of a GenerationRequest that are options here
SEPARATOR = "<|endoftext|>"  # between stories, as in the .txt files that the pipeline reads
NO_LIMIT = "none"  # value of an option that removes a limit


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("write", help="generate stories on the terminal", description=__doc__)
    parser.add_argument("prompt", nargs="?", default="", help="start of the story; default: the model starts")
    add_model_option(parser)
    parser.add_argument("--temperature", type=float, metavar="T", help="0: greedy; 1: the model's own distribution")
    parser.add_argument(
        "--top-k", type=_number_or_none(int), metavar="K", help="sample from the K most likely tokens; none: no limit"
    )
    parser.add_argument(
        "--top-p",
        type=_number_or_none(float),
        metavar="P",
        help="sample from the most likely tokens of total probability P; none: no limit",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same story; default: random")
    parser.add_argument("--count", type=_count, default=1, metavar="N", help="number of stories (%(default)s)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="maximum length, including the prompt")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tinylm.sampling.request import GenerationRequest
    from tinylm.serve.defaults import NEUTRAL, read_defaults

    given = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    given = {name: None if value == NO_LIMIT else value for name, value in given.items()}
    given["prompt"] = options.prompt
    GenerationRequest.of(NEUTRAL | given)  # report mistakes before the model is loaded, which takes seconds
    generator = open_model(options.model, end_of_text=options.end_of_text)
    defaults = read_defaults(options.model, generator.model.params.context)
    request = GenerationRequest.of(defaults | given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode must not end a story
    for number in range(options.count):
        stream = generator.stream(request, number)
        if number == 0:
            request = request.model_copy(update={"seed": stream.seed})  # one seed for all stories
            _note(f"seed {stream.seed}, temperature {request.temperature:g}{_limits(request.top_k, request.top_p)}")
        else:
            print(SEPARATOR)
        _write(stream)
    return 0


def _write(stream: "StoryStream") -> None:
    show = _printable if sys.stdout.isatty() else str
    print(show(stream.prompt), end="", flush=True)
    for piece in stream:
        print(show(piece), end="", flush=True)
    print(flush=True)
    how = "reached end-of-text" if stream.ended else "reached the maximum length"
    _note(f"{how}: {stream.tokens} tokens, {stream.tokens_per_second:,.0f} tokens/s")


def _note(text: str) -> None:
    print(f"[{text}]", file=sys.stderr, flush=True)


def _limits(top_k: int | None, top_p: float | None) -> str:
    return "".join(f", {name} {value:g}" for name, value in (("top-k", top_k), ("top-p", top_p)) if value is not None)


def _printable(text: str) -> str:
    """Replace control characters, which a terminal would execute: an untrained model generates them, too."""
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
