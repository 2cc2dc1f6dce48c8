"""Whether pronouns agree with a character who was introduced as female or male.

A heuristic based on a pattern that is frequent in TinyStories: "a little girl named Lily". It stops at the next person,
to whom a pronoun could refer as well.
"""

import re

FEMALE = ("girl", "woman", "lady", "princess", "queen", "mom", "mommy", "mother", "grandma", "sister", "aunt", "mum")
MALE = ("boy", "man", "prince", "king", "dad", "daddy", "father", "grandpa", "brother", "uncle")
SHE = frozenset(("she", "her", "hers", "herself"))
HE = frozenset(("he", "him", "his", "himself"))
NAMED = re.compile(rf"\b({'|'.join(FEMALE + MALE)}) (?:named|called) ([A-Z]\w+)")
WORD = re.compile(r"\w+")
PERSON = frozenset(FEMALE + MALE)


def agreeing(text: str) -> tuple[int, int]:
    """Return (pronouns that agree with the character introduced last, pronouns), counted up to the next person."""
    agree = seen = 0
    for named in NAMED.finditer(text):
        right = SHE if named[1] in FEMALE else HE
        for pronoun in _pronouns(text[named.end() :], named[2]):
            agree += pronoun in right
            seen += 1
    return agree, seen


def _pronouns(text: str, name: str) -> list[str]:
    """Return the pronouns up to the first mention of a person other than `name`."""
    found: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        if word.lower() in PERSON or (word != name and _is_name(word, text[: match.start()][-2:])):
            break
        if word.lower() in SHE | HE:
            found.append(word.lower())
    return found


def _is_name(word: str, before: str) -> bool:
    """Whether the word is capitalized in the middle of a sentence; `before` is the two characters before it."""
    return word[0].isupper() and len(word) > 1 and bool(re.fullmatch(r"[a-z,] ", before))
