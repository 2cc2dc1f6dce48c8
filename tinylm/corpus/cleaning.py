"""What a story keeps of the text that its source gave."""

END_OF_TEXT = "<|endoftext|>"  # as in tinylm.tokenizer, which a download has no need to import
_BOM = "\ufeff"


def clean(raw: str) -> list[str]:
    """The stories in `raw`: one, as a rule; several where end-of-text stands in it; none where it is blank.

    End-of-text would become a special token in the middle of a story, so the text is cut there, as
    it is in a .txt file. Line ends become line feeds; white space and byte order marks go at both ends.
    """
    if "\r" in raw:
        raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    pieces = raw.split(END_OF_TEXT) if END_OF_TEXT in raw else [raw]
    return [stripped for piece in pieces if (stripped := _strip(piece))]


def _strip(text: str) -> str:
    text = text.strip()
    while text.startswith(_BOM) or text.endswith(_BOM):
        text = text.strip(_BOM).strip()
    return text
