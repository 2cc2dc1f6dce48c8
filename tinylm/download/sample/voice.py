"""The last touch to a told story: "an" before a vowel, and "don't" for "do not" where the story is told in that voice."""

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
    return AN.sub(r"\1n", text)


def contracted(text: str) -> str:
    text = NOT.sub(r"\1n't", text.replace("cannot", "can't").replace("will not", "won't"))
    return LONG.sub(lambda match: SHORT[match[0]], text)
