"""The pages of the documentation, and the commands and links in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.tiny import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PROGRAMS = ("tinylm", "dvc", "make", "uv", "pip", "git", "gto", "torchrun", "curl", "cp", "cd", "rm", ".")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
ASSIGNMENT = re.compile(r"[A-Z_]+=")
IN_TEXT = re.compile(rf"([A-Z_]+=\S+ )*(\.venv/bin/)?({'|'.join(map(re.escape, PROGRAMS))}) \S")
OPERATORS = "&|;"


@dataclass(frozen=True)
class Command:
    """A command on a page: its words, without variables that are set for it alone."""

    page: str
    words: tuple[str, ...]
    named: bool = False  # in the text, which may only name it: `dvc exp apply`

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shell_blocks(page: Path) -> list[str]:
    """Return the blocks of commands of a page."""
    return [text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language == "sh"]


def prose(page: Path) -> str:
    """Return the text of a page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def code_spans(page: Path) -> list[str]:
    """Return the code in the text and in the tables of a page."""
    return [" ".join(span.replace("\\|", "|").split()) for span in CODE.findall(prose(page))]


def commands() -> list[Command]:
    """Return every command of every page, those in the text included."""
    found: dict[Command, None] = {}
    for page in PAGES:
        for block in shell_blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                found |= dict.fromkeys(Command(page_name(page), words) for words in split(line))
        for span in code_spans(page):
            if IN_TEXT.match(span):
                found |= dict.fromkeys(Command(page_name(page), words, named=True) for words in split(span))
    return list(found)


def split(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command of a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(OPERATORS):
            while words and ASSIGNMENT.match(words[0]):
                words.pop(0)
            if words:
                yield tuple(words)
            words = []
        else:
            words.append(word)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Return the targets of the links and pictures of a page."""
    return [link or source for link, source in LINK.findall(prose(page))]
