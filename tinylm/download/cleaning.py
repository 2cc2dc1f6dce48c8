"""Clean the text of a story: end-of-text, line ends, white space, control characters."""

import re

END_OF_TEXT = "<|endoftext|>"  # same as in tinylm.tokenizer.loading, which the download does not need to import
_BOM = "\ufeff"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")  # category Cc except tab, line ends; BOM
_LINE_ENDS = {ord(c): "\n" for c in "\x0b\x0c\x1c\x1d\x1e\x85"}  # these separate lines, pages or records
_REMOVED = {c: None for c in [*range(0x20), *range(0x7F, 0xA0), ord(_BOM)] if chr(c) not in "\t\n\r"} | _LINE_ENDS


def clean(raw: str) -> list[str]:
    """Return the stories in `raw`: usually one, several if it contains end-of-text, none if it is blank.

    End-of-text would become a special token in the middle of a story, so the text is split there, as in a .txt file.
    Line ends become line feeds; white space and byte order marks are stripped from both ends.
    """
    if "\r" in raw:
        raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    pieces = raw.split(END_OF_TEXT) if END_OF_TEXT in raw else [raw]
    return [stripped for piece in pieces if (stripped := _strip(piece))]


def remove_control_characters(text: str) -> str:
    """Return `text` without byte order marks and control characters, except tabs and line ends.

    Control characters that separate lines, pages or records become line feeds.
    """
    return text.translate(_REMOVED) if _CONTROLS.search(text) else text


def _strip(text: str) -> str:
    """Strip white space and byte order marks, in any order."""
    text = text.strip()
    while text.startswith(_BOM) or text.endswith(_BOM):
        text = text.strip(_BOM).strip()
    return text
