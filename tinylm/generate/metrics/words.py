"""Words and n-grams, as the metrics of stories count them."""

import re
from collections import Counter
from collections.abc import Sequence

# ASCII letters and digits, and all other characters except the U+2000 block (dashes, curly quotation marks). An
# apostrophe separates words ("don", "t"). novelty.py finds the same words in UTF-8 bytes.
WORD = re.compile(r"[0-9A-Za-z\u0080-\u1fff\u2040-\U0010ffff]+")
LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}  # ASCII only, as novelty.py lowercases bytes

Ngram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """Return the words of a text, with ASCII letters in lower case."""
    return WORD.findall(text.translate(LOWER))


def ngrams(words: Sequence[str], n: int) -> list[Ngram]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def count_ngrams(words: Sequence[str], n: int) -> Counter[Ngram]:
    return Counter(ngrams(words, n))
