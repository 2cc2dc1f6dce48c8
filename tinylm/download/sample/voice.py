"""Finish a story: "an" before vowels and, in some stories, contractions such as "don't"."""

import re

AN = re.compile(r"\b([Aa])(?= (?:(?!uni|use|one\b|once\b)[aeiouAEIOU]|hour|honest))")
NOT = re.compile(r"\b([Dd]o|[Dd]id|does|was|were|is|are|had|could|would) not\b")
SHORT = {
    "I am": "I'm",
    "I will": "I'll",
    "You are": "You're",
    "It is": "It's",
    "That is": "That's",
    "What is": "What's",
    "Who is": "Who's",
    "Let us": "Let's",
}
LONG = re.compile(rf"\b(?:{'|'.join(SHORT)})(?= [a-z])")  # "Yes, I will" stays as it is


def with_an(text: str) -> str:
    """Replace "a" by "an" before a vowel sound."""
    return AN.sub(r"\1n", text)


def contracted(text: str) -> str:
    """Contract "do not", "I am" and the like."""
    text = NOT.sub(r"\1n't", text.replace("cannot", "can't").replace("will not", "won't"))
    return LONG.sub(lambda match: SHORT[match[0]], text)
