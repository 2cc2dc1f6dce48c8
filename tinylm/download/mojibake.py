"""Repair mojibake: UTF-8 that was decoded as Windows-1252 or Latin-1, such as `â€œ` for an opening quotation mark.

Only sequences that are very unlikely in real text are repaired: two to four characters whose bytes form one UTF-8
character, with a first byte typical of punctuation, accented letters or emoji.
"""

import re

# Both decodings of each byte; Windows-1252 leaves five of the bytes from 0x80 undefined.
_BYTES = {chr(byte): byte for byte in range(0x80, 0x100)}
_BYTES |= {char: byte for byte in range(0x80, 0xA0) if (char := bytes([byte]).decode("cp1252", "ignore"))}
_NEXT = "[" + "".join(re.escape(char) for char, byte in _BYTES.items() if byte < 0xC0) + "]"
_SUSPECT = re.compile("[ÂÃÅÆËâïð]")
_BROKEN = re.compile(
    f"(?<![A-Z])[ÂÃÅÆË]{_NEXT}"  # accented letters; after a capital it may be the end of a word in capitals
    f"|[âï]{_NEXT}{{2}}"  # punctuation, symbols, byte order marks
    f"|ð[Ÿ\x9f]{_NEXT}{{2}}"  # emoji
    f"|â€(?!{_NEXT})"  # a closing quotation mark; its third byte is undefined in Windows-1252 and was lost
)
MAX_PASSES = 4  # text may have been decoded wrongly more than once


def repair(text: str) -> str:
    """Return `text` with mojibake repaired; unchanged if there is none."""
    for _ in range(MAX_PASSES):
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
