"""The notation of plots, and the generator that turns a plot into a story.

    [red|big|]  one of these, drawn again each time; may be nested, may be empty
    {toy}       the name of what is cast as `toy`; {toy.look} is another column of its row; {Toy} begins a sentence
    {happy}     a phrase, if nothing is cast under that name
    a line      a beat of the story: one or a few sentences
    | line      another wording of the beat above it
    ? line      an optional beat
    empty line  ends a paragraph; the first paragraph introduces the hero

A cast row keeps its words throughout the story: a [red|blue] ball that was red stays red. A plot always writes "a",
which becomes "an" before a vowel in the finished story.
"""

import re
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import NamedTuple, TypeVar

from tinylm.download.sample.voice import contracted, with_an

T = TypeVar("T")
Row = Mapping[str, str]
Table = tuple[Row, ...]

CHOICE = re.compile(r"\[([^][]*)\]")  # innermost brackets
SLOT = re.compile(r"\{([\w.]+)\}")
HERO_WORDS = frozenset(("he", "him", "his", "himself"))  # {his} is short for {hero.his}


class Beat(NamedTuple):
    """One step of a plot, with its alternative wordings."""

    optional: bool
    wordings: tuple[str, ...]


class Teller:
    """Generates one story; all draws come from `key`, so equal keys give equal stories.

    It draws only with `Random.random`, the one method whose sequence is the same in every version of Python.
    """

    def __init__(self, key: int, phrases: Mapping[str, tuple[str, ...]]) -> None:
        self._random = Random(key).random
        self._phrases = phrases
        self._unused: dict[str, list[str]] = {}  # a story repeats no phrase while there are others
        self._drawn: list[Row] = []
        self.rows: dict[str, dict[str, str]] = {}
        self.introduces = True  # False: "One day, a little girl named ...", without a paragraph before it
        self.detail = self.pick((0.0, 0.15, 0.75))  # fraction of the optional beats to include

    def chance(self, share: float) -> bool:
        """Return True with probability `share`."""
        return self._random() < share

    def pick(self, things: tuple[T, ...]) -> T:
        """Return one of `things`, all equally likely."""
        return things[int(self._random() * len(things))]

    def pick_early(self, things: tuple[T, ...]) -> T:
        """Return one of `things`, preferring the first ones: in real texts too, a few names are common and most are rare."""
        draw = self._random()
        return things[int(draw * draw * len(things))]

    def draw(self, table: Table) -> Row:
        """Pick a row this story has not drawn yet, so that nobody looks for a ball in the same place twice."""
        row = self.pick(table)
        while row in self._drawn:
            row = self.pick(table)
        self._drawn.append(row)
        return row

    def cast(self, slot: str, row: Row, **more: str) -> None:
        """Fill `slot` with `row`, and with the columns in `more`."""
        self.rows[slot] = {**row, **more}

    def cast_from(self, **tables: Table) -> None:
        """Fill each slot with a row drawn from its table."""
        for slot, table in tables.items():
            self.cast(slot, self.draw(table))

    def tell(self, plot: str) -> str:
        """Return the story of a plot whose slots have been cast."""
        written = [self._write_paragraph(beats) for beats in paragraphs(plot)[0 if self.introduces else 1 :]]
        text = with_an(self.pick(("\n", "\n", " ")).join(filter(None, written)))
        return contracted(text) if self.chance(0.5) else text

    def _write_paragraph(self, beats: tuple[Beat, ...]) -> str:
        included = [beat for beat in beats if not beat.optional or self.chance(self.detail)]
        text = " ".join(self.expand(self.pick(beat.wordings)) for beat in included)
        return " ".join(text.split())  # an empty choice leaves a double space

    def expand(self, text: str) -> str:
        """Draw every [choice] in `text` and fill every {slot}. Raises KeyError for a slot that is neither cast nor a phrase."""
        while "[" in text:
            text = CHOICE.sub(lambda match: self.pick(tuple(match[1].split("|"))), text)
        return SLOT.sub(lambda match: self._fill(match[1]), text)

    def _fill(self, slot: str) -> str:
        name = slot.lower()
        text = self._text(name)
        return text if name == slot else text[:1].upper() + text[1:]

    def _text(self, name: str) -> str:
        slot, _, column = (f"hero.{name}" if name in HERO_WORDS else name).partition(".")
        if slot not in self.rows:
            return self.expand(self._phrase(slot))
        row = self.rows[slot]
        row[column or "name"] = text = self.expand(row[column or "name"])  # drawn once and kept for the whole story
        return text

    def _phrase(self, name: str) -> str:
        """Return a phrase, avoiding those the story has used."""
        unused = self._unused.get(name) or list(self._phrases[name])
        self._unused[name] = unused
        return unused.pop(int(self._random() * len(unused)))


@cache
def paragraphs(plot: str) -> tuple[tuple[Beat, ...], ...]:
    """Parse a plot into the beats of each paragraph."""
    return tuple(tuple(_beats(paragraph)) for paragraph in re.split(r"\n\s*\n", plot.strip()))


def _beats(paragraph: str) -> list[Beat]:
    beats: list[Beat] = []
    for line in paragraph.splitlines():
        text = " ".join(line.split())
        if text.startswith("|"):
            beats[-1] = beats[-1]._replace(wordings=(*beats[-1].wordings, text[1:].strip()))
        else:
            beats.append(Beat(text.startswith("?"), (text.removeprefix("?").strip(),)))
    return beats


def names(text: str) -> tuple[str, ...]:
    """Return the words of `text`."""
    return tuple(text.split())


def words(text: str) -> Table:
    """Return a table with one column, `name`, from a comma-separated list."""
    return tuple({"name": name.strip()} for name in text.split(","))


def columns(header: str, text: str) -> Table:
    """Return a table with one row per line; columns are separated by semicolons, as in `header`."""
    keys = [key.strip() for key in header.split(";")]
    rows = (line.split(";") for line in text.strip().splitlines())
    return tuple(dict(zip(keys, (cell.strip() for cell in row), strict=True)) for row in rows)


def records(text: str) -> Table:
    """Return a table of long rows: one "column: words" per line, and an empty line between rows."""
    blocks = (block.strip().splitlines() for block in re.split(r"\n\s*\n", text.strip()))
    pairs = ((line.partition(":") for line in block) for block in blocks)
    return tuple({key.strip(): cell.strip() for key, _, cell in row} for row in pairs)
