"""Write the reference pages that follow from the code: docs/reference/parameters.md and command-line.md.

`make docs` does it before it builds the site. It also writes the results of the run in metrics/ into README.md, between
two comments. No test compares those: whoever commits a run of their own need not change this page.
"""

import argparse
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinylm.cli.main import COMMANDS
from tools.markdown import ROOT, generated, table
from tools.parameters_page import parameters_page

REFERENCE = ROOT / "docs/reference"
TARGET = re.compile(r"^([a-z-]+):.*## (.*)", re.MULTILINE)  # of the Makefile
STARTS, ENDS = "<!-- `make docs` writes the results of the committed run. -->", "<!-- End of the results. -->"


def pages() -> dict[Path, str]:
    """Return the generated pages and their text."""
    return {REFERENCE / "parameters.md": parameters_page(), REFERENCE / "command-line.md": command_line_page()}


def command_line_page() -> str:
    """Return the page of the subcommands and the targets of the Makefile."""
    lines = [
        "# Command line",
        "",
        "`tinylm COMMAND`, or `python -m tinylm COMMAND`. `--help` lists the options. A mistake ends in one line on",
        "standard error, and in an exit code that is not 0.",
    ]
    parsers = argparse.ArgumentParser().add_subparsers()
    for command in COMMANDS:
        command.add_parser(parsers)
    for name, parser in parsers.choices.items():
        lines += ["", f"## tinylm {name}", "", *_description(parser.description or "")]
        rows = [(_argument(action), _help(action)) for action in parser._actions if action.dest != "help"]
        lines += ["", *table(("argument", "meaning"), rows)] if rows else []
    lines += ["", "## make", "", "`make` without a target prints this list.", ""]
    targets = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    lines += table(("target", "what it does"), [(f"`make {name}`", meaning) for name, meaning in targets])
    return generated("the parsers in tinylm/cli/ and the Makefile", lines)


def _description(text: str) -> Iterator[str]:
    """Yield the lines of a parser's description; its indented or quoted lines are code."""
    text = re.sub(r"^`(python -m )?tinylm [a-z]+`: (.)", lambda match: match[2].upper(), text.strip())
    for code, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith(("  ", "'"))):
        yield from (["", "```text"] if code else [])
        yield from lines
        yield from (["```"] if code else [])


def _argument(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices:
        value = "|".join(map(str, action.choices))
    if action.nargs in ("+", "*") and " " not in value:
        value += " ..."
    if not action.option_strings:
        return f"`{value if action.metavar or action.choices else action.dest}`"
    return f"`{', '.join(action.option_strings)}{'' if action.nargs == 0 else ' ' + value}`"


def _help(action: argparse.Action) -> str:
    return ((action.help or "") % vars(action)).replace("<", "&lt;")


def results(metrics: Path) -> list[str]:
    """Return the lines of README.md with the results of the run whose metrics are in the folder `metrics`."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in metrics.glob("*.json")}
    corpus, tokens, train, score = read["download"], read["pretokenize"]["train"], read["train"], read["evaluate"]
    text, held_out = corpus["train"], corpus["val"]
    loss = f"{score['loss']:.4f} nats per token, perplexity {score['perplexity']:.2f}, accuracy {score['accuracy']:.0%}"
    if (bits := score["bits_per_byte"]) is not None:  # they are undefined for a lossy tokenizer
        interval = score["range95"]["bits_per_byte"]
        loss += f", {bits:.4f} bits per byte (95%: {interval['low']:.4f} to {interval['high']:.4f})"
    by_stage = {
        "download": f"{text['stories']:,} training stories ({text['bytes'] / 1e6:.1f} MB), "
        f"{held_out['stories']:,} validation stories",
        "train_tokenizer": f"{read['train_tokenizer']['vocab_size']:,} entries",
        "pretokenize": f"{tokens['tokens'] / 1e6:.2f} million training tokens",
        "train": f"{train['parameters'] / 1e6:.1f} million parameters, {train['steps']:,} steps, "
        f"{train['tokens'] / 1e6:.1f} million tokens",
        "generate": f"stories by the model and its checkpoints, {read['generate']['stories']} judged for each metric",
        "evaluate": f"loss {loss}",
        "report": "all of it on one page",
    }
    return table(("stage", "result"), [(f"`{stage}`", result) for stage, result in by_stage.items()])


def with_results(readme: str, lines: Sequence[str]) -> str:
    """Return the text of README.md with `lines` between the two comments."""
    before, starts, rest = readme.partition(STARTS)
    _, ends, after = rest.partition(ENDS)
    assert starts, f"README.md has no line {STARTS}"
    assert ends, f"README.md has no line {ENDS}"
    return "\n".join([before + starts, "", *lines, "", ends + after])


def main() -> None:
    readme = ROOT / "README.md"
    text = with_results(readme.read_text(encoding="utf-8"), results(ROOT / "metrics"))
    for path, content in (pages() | {readme: text}).items():
        path.write_text(content, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
