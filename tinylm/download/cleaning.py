"""What a story keeps of the text that its source gave."""

import re

END_OF_TEXT = "<|endoftext|>"  # as in tinylm.tokenizer.loading, which a download has no need to import
_BOM = "\ufeff"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")  # category Cc but tab and line ends; BOM inside
_LINE_ENDS = {ord(c): "\n" for c in "\x0b\x0c\x1c\x1d\x1e\x85"}  # some of them part lines, pages or records
_REMOVED = {c: None for c in [*range(0x20), *range(0x7F, 0xA0), ord(_BOM)] if chr(c) not in "\t\n\r"} | _LINE_ENDS


def clean(raw: str) -> list[str]:
    """The stories in `raw`: one, as a rule; several where end-of-text stands in it; none where it is blank.

    End-of-text would become a special token in the middle of a story, so the text is cut there, as
    it is in a .txt file. Line ends become line feeds; white space and byte order marks go at both ends.
    """
    if "\r" in raw:
        raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    pieces = raw.split(END_OF_TEXT) if END_OF_TEXT in raw else [raw]
    return [stripped for piece in pieces if (stripped := _strip(piece))]


def remove_control_characters(text: str) -> str:
    """`text` without byte order marks and control characters but tab and line ends; old signs for these become one."""
    return text.translate(_REMOVED) if _CONTROLS.search(text) else text


def _strip(text: str) -> str:
    text = text.strip()
    while text.startswith(_BOM) or text.endswith(_BOM):
        text = text.strip(_BOM).strip()
    return text
