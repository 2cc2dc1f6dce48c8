"""Repair of text that was UTF-8 and was read as Windows-1252 or Latin-1: `â€œ` for an opening quotation mark.

What is repaired is what hardly stands in text otherwise: sequences of two to four characters that are
whole UTF-8 characters byte for byte, and begin as those of punctuation, accented letters and emoji do.
"""

import re

# Either reading of each byte; Windows-1252 leaves five of the bytes from 0x80 on undefined.
_BYTES = {chr(byte): byte for byte in range(0x80, 0x100)}
_BYTES |= {char: byte for byte in range(0x80, 0xA0) if (char := bytes([byte]).decode("cp1252", "ignore"))}
_NEXT = "[" + "".join(re.escape(char) for char, byte in _BYTES.items() if byte < 0xC0) + "]"
_SUSPECT = re.compile("[ÂÃÅÆËâïð]")
_BROKEN = re.compile(
    f"(?<![A-Z])[ÂÃÅÆË]{_NEXT}"  # accented letters; behind a capital it may be the end of a word in capitals
    f"|[âï]{_NEXT}{{2}}"  # punctuation, signs, byte order marks
    f"|ð[Ÿ\x9f]{_NEXT}{{2}}"  # emoji
    f"|â€(?!{_NEXT})"  # a closing quotation mark whose third byte, undefined in Windows-1252, was lost
)
MOST_TURNS = 4  # text goes through such a misreading more than once


def repair(text: str) -> str:
    """`text` as it was before the misreading; the same text where there is nothing to repair."""
    for _ in range(MOST_TURNS):
        if text.isascii() or not _SUSPECT.search(text):
            break
        repaired = _BROKEN.sub(_decode, text)
        if repaired == text:
            break
        text = repaired
    return text


def _decode(match: re.Match[str]) -> str:
    if match[0] == "â€":
        return "\N{RIGHT DOUBLE QUOTATION MARK}"
    try:
        return bytes(_BYTES[char] for char in match[0]).decode()
    except UnicodeDecodeError:
        return match[0]
