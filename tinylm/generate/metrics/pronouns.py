"""Whether a character who was introduced as a girl or a boy stays one.

A heuristic, by the pattern that TinyStories is full of: "a little girl named Lily". It looks no further than
to the next person, whom a pronoun could mean as well.
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
    """(pronouns that agree with the character named last, pronouns), each up to the next person."""
    agree = seen = 0
    for named in NAMED.finditer(text):
        right = SHE if named[1] in FEMALE else HE
        for pronoun in _pronouns(text[named.end() :], named[2]):
            agree += pronoun in right
            seen += 1
    return agree, seen


def _pronouns(text: str, name: str) -> list[str]:
    found: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        if word.lower() in PERSON or (word != name and _is_name(word, text[: match.start()][-2:])):
            break
        if word.lower() in SHE | HE:
            found.append(word.lower())
    return found


def _is_name(word: str, before: str) -> bool:
    """A capital where no sentence begins."""
    return word[0].isupper() and len(word) > 1 and bool(re.fullmatch(r"[a-z,] ", before))
