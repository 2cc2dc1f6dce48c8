"""The notation that plots are written in, and the teller that turns a plot into a story.

    [red|big|]  one of these, drawn anew each time; may be nested, may be empty
    {toy}       the name of what is cast as `toy`; {toy.look} is another column of its row; {Toy} begins a sentence
    {happy}     a phrase, where nothing is cast under that name
    a line      a beat of the story: a sentence or a few
    | line      another wording of the beat above it
    ? line      a beat that may be left out
    empty line  ends a paragraph; the first paragraph introduces the hero

What is cast keeps its words through the story: a [red|blue] ball that was red stays red. A plot
always writes "a", which becomes "an" before a vowel when all is told.
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
    optional: bool
    wordings: tuple[str, ...]


class Teller:
    """Tells one story; everything it draws comes from `key`, so equal keys tell equal stories.

    It draws with `Random.random` alone: the one method whose sequence Python keeps from version to version.
    """

    def __init__(self, key: int, phrases: Mapping[str, tuple[str, ...]]) -> None:
        self._random = Random(key).random
        self._phrases = phrases
        self._unsaid: dict[str, list[str]] = {}  # no story says a phrase twice while there are others
        self._drawn: list[Row] = []
        self.rows: dict[str, dict[str, str]] = {}
        self.introduces = True  # False: "One day, a little girl named ...", without a paragraph before it
        self.detail = self.pick((0.0, 0.15, 0.75))  # share of the optional beats that are told

    def chance(self, share: float) -> bool:
        return self._random() < share

    def pick(self, things: tuple[T, ...]) -> T:
        return things[int(self._random() * len(things))]

    def pick_early(self, things: tuple[T, ...]) -> T:
        """Prefer what stands first: as in real texts, some names are common and most are rare."""
        draw = self._random()
        return things[int(draw * draw * len(things))]

    def draw(self, table: Table) -> Row:
        """Pick a row that this story has not drawn before: nobody looks for a ball in one place twice."""
        row = self.pick(table)
        while row in self._drawn:
            row = self.pick(table)
        self._drawn.append(row)
        return row

    def cast(self, slot: str, row: Row, **more: str) -> None:
        self.rows[slot] = {**row, **more}

    def cast_from(self, **tables: Table) -> None:
        for slot, table in tables.items():
            self.cast(slot, self.draw(table))

    def tell(self, plot: str) -> str:
        told = [self._tell_paragraph(beats) for beats in paragraphs(plot)[0 if self.introduces else 1 :]]
        text = with_an(self.pick(("\n", "\n", " ")).join(filter(None, told)))
        return contracted(text) if self.chance(0.5) else text

    def _tell_paragraph(self, beats: tuple[Beat, ...]) -> str:
        told = [beat for beat in beats if not beat.optional or self.chance(self.detail)]
        text = " ".join(self.expand(self.pick(beat.wordings)) for beat in told)
        return " ".join(text.split())  # an empty choice leaves two spaces

    def expand(self, text: str) -> str:
        """Draw every [choice] of `text` and fill every {slot}. Raises KeyError for a slot that nothing fills."""
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
        row[column or "name"] = text = self.expand(row[column or "name"])  # drawn once, kept for the whole story
        return text

    def _phrase(self, name: str) -> str:
        unsaid = self._unsaid.get(name) or list(self._phrases[name])
        self._unsaid[name] = unsaid
        return unsaid.pop(int(self._random() * len(unsaid)))


@cache
def paragraphs(plot: str) -> tuple[tuple[Beat, ...], ...]:
    """The beats of each paragraph of a plot."""
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
    return tuple(text.split())


def words(text: str) -> Table:
    """A table of one column, from names with commas between them."""
    return tuple({"name": name.strip()} for name in text.split(","))


def columns(header: str, text: str) -> Table:
    """A table with a row on each line, its columns divided by semicolons as in `header`."""
    keys = [key.strip() for key in header.split(";")]
    rows = (line.split(";") for line in text.strip().splitlines())
    return tuple(dict(zip(keys, (cell.strip() for cell in row), strict=True)) for row in rows)


def records(text: str) -> Table:
    """A table of long rows: a "column: words" on each line, an empty line between two rows."""
    blocks = (block.strip().splitlines() for block in re.split(r"\n\s*\n", text.strip()))
    pairs = ((line.partition(":") for line in block) for block in blocks)
    return tuple({key.strip(): cell.strip() for key, _, cell in row} for row in pairs)
