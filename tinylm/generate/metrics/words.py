"""What counts as a word where stories are compared, and its n-grams."""

import re
from collections import Counter
from collections.abc import Sequence

# Letters and digits of ASCII, and everything else but its punctuation: dashes and curly quotation marks are in the
# block of U+2000. An apostrophe parts words ("don" and "t"). novelty.py finds the same words in bytes.
WORD = re.compile(r"[0-9A-Za-z\u0080-\u1fff\u2040-\U0010ffff]+")
LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}  # of ASCII alone, as bytes are made lower

Ngram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    return WORD.findall(text.translate(LOWER))


def ngrams(words: Sequence[str], n: int) -> list[Ngram]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def count_ngrams(words: Sequence[str], n: int) -> Counter[Ngram]:
    return Counter(ngrams(words, n))
