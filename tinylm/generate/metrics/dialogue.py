"""Dialogue metrics: whether quotation marks are balanced, and whether quotations are attributed to a speaker."""

import re

CURLY = str.maketrans("“”„", '"""')
QUOTED = re.compile(r'"[^"\n]*"')
SPEECH = re.compile(
    r"\b(?:say|said|says|saying|ask|asks|asked|asking|repl(?:y|ies|ied)|answer(?:s|ed)?|shout(?:s|ed)?|yell(?:s|ed)?"
    r"|cr(?:y|ies|ied)|call(?:s|ed)?|whisper(?:s|ed)?|exclaim(?:s|ed)?|tell|tells|told|add(?:s|ed)?|scream(?:s|ed)?"
    r"|beg(?:s|ged)?|think|thinks|thought|sing|sings|sang|laugh(?:s|ed)?|explain(?:s|ed)?|agree[sd]?|read|squeak(?:s|ed)?)\b"
)
NEAR = 6  # words between a quotation and its verb


def balanced(text: str, ended: bool) -> float | None:
    """Return 1.0 if every paragraph has an even number of quotation marks, 0.0 if not, None without any.

    Ignores the last paragraph of a text that was cut (`ended` is False).
    """
    paragraphs = text.translate(CURLY).split("\n")
    counts = [paragraph.count('"') for paragraph in (paragraphs if ended else paragraphs[:-1])]
    return float(all(count % 2 == 0 for count in counts)) if any(counts) else None


def attributed(text: str) -> tuple[int, int]:
    """Return (quotations with a verb of speech at most NEAR words away in the same sentence, all quotations)."""
    text = text.translate(CURLY)
    quotes = list(QUOTED.finditer(text))
    return sum(_has_speaker(text[: quote.start()], text[quote.end() :]) for quote in quotes), len(quotes)


def _has_speaker(before: str, after: str) -> bool:
    before = re.split(r'[.!?"\n]', before)[-1]
    after = re.split(r'[.!?"\n]', after, maxsplit=1)[0]
    near = [*before.split()[-NEAR:], "|", *after.split()[:NEAR]]
    return bool(SPEECH.search(" ".join(near)))
