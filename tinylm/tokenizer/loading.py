"""Load a tokenizer.json.

In every stream of token ids, each story is followed by the end-of-text id.
"""

from pathlib import Path

from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.base.reading import check_file

END_OF_TEXT = "<|endoftext|>"


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """Return the id of <|endoftext|>. Raises UserError if the tokenizer has none."""
    found = tokenizer.token_to_id(END_OF_TEXT)
    if found is None:
        raise UserError(f"the tokenizer has no {END_OF_TEXT}; run the train_tokenizer stage again")
    return found


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer.json. Raises UserError if it is missing or not a tokenizer."""
    check_file(path, "run the train_tokenizer stage again: dvc repro train_tokenizer")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"{path}: expected a tokenizer.json of the tokenizers library, got: {error}") from error
