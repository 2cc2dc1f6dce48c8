"""GPT-2's pre-tokens: the pieces of text within which byte-level BPE merges (Radford et al. 2019).

Where a space must begin a pre-token, text can be split by `bytes.split`, which is much faster than the pattern.
"""

import re

from tokenizers import pre_tokenizers

# GPT-2's pattern begins a pre-token at every space that follows a non-space character: within a pre-token, white space
# is only at the start, unless the pre-token is nothing but white space.
BORDER = re.compile(r"(?<=\S) ")
# GPT-2's pattern for ASCII text, where Python's character classes equal the library's.
ASCII_PRE_TOKENS = re.compile(rb"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_PATTERN = pre_tokenizers.ByteLevel(add_prefix_space=False)


def _byte_symbols() -> list[str]:
    """Printable bytes stand for themselves, the others for the characters from U+0100 on, in order."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


BYTE_SYMBOLS = _byte_symbols()  # the character of each byte in a byte-level vocabulary
_SYMBOL_BYTES = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}


def ends_in_space(piece: bytes) -> bool:
    """Return whether a piece ends in white space; so does an empty one, which has a space or nothing before it.

    Raises UnicodeDecodeError if the piece is not UTF-8.
    """
    return not piece or piece.decode()[-1].isspace()


def pre_tokens(text: bytes) -> list[bytes]:
    """Split text (UTF-8) into pre-tokens. Raises UnicodeDecodeError if it is not UTF-8."""
    if text.isascii():
        found: list[bytes] = ASCII_PRE_TOKENS.findall(text)
        return found
    return [bytes(map(_SYMBOL_BYTES.__getitem__, word)) for word, _ in _PATTERN.pre_tokenize_str(text.decode())]
