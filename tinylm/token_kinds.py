"""What kind of token each one is: models find the start of a word hard, and its rest easy."""

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.tokenizer import end_of_text_id

KINDS = ("word_start", "continuation", "punctuation", "end_of_text")
PART_OF_CHARACTER = "\ufffd"  # what a token decodes to that is not a whole character: of a letter, as a rule


def classify(ids: NDArray[np.unsignedinteger], tokenizer: Tokenizer) -> NDArray[np.int8]:
    """The place in KINDS of each id of a stream.

    A word's start holds letters or digits after a space or a sign; its continuation follows a letter or digit
    directly. Punctuation holds neither: signs and white space.
    """
    texts = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in range(tokenizer.get_vocab_size())]
    has_letters = np.array([any(map(_is_letter, text)) for text in texts])
    after_space = np.array([text[:1].isspace() for text in texts])
    open_end = np.array([bool(text) and _is_letter(text[-1]) for text in texts])
    open_end[end_of_text_id(tokenizer)] = False  # a story's first word is no continuation of the mark before it
    goes_on = np.concatenate([[False], open_end[ids[:-1]]])
    kinds = np.where(has_letters[ids], np.where(goes_on & ~after_space[ids], 1, 0), 2)
    kinds[ids == end_of_text_id(tokenizer)] = 3
    return kinds.astype(np.int8)


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == PART_OF_CHARACTER
