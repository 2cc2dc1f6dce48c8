"""What can be told of stories without a judge. Each figure means something only beside that of human stories.

A story is compared by its words (words.py). A figure that the stories give no ground for is None.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tinylm.generate.metrics import dialogue, pronouns
from tinylm.generate.metrics.words import Ngram, count_ngrams, ngrams, words_of

FIXED_WORDS = 50  # of each story, where a figure depends on the length
BLEU_ORDER = 4
NO_MATCH = 0.1  # counted in place of no common n-gram, or one such order would make BLEU zero

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Judged:
    """A story, by whomever, as far as it may go: the same limit for models and people."""

    text: str
    ended: bool  # by itself, and not at the limit
    matches: NDArray[np.int64]  # of each word: novelty.longest_matches


def judge(stories: Sequence[Judged]) -> Figures:
    """All figures of these stories. Shares are between 0 and 1."""
    words = [words_of(story.text) for story in stories]
    cut = [w[:FIXED_WORDS] for w in words if len(w) >= FIXED_WORDS][: len(words) // 2]
    enough = bool(cut) and len(cut) == len(words) // 2  # the same amount of text for all that are compared
    matches = [story.matches for story in stories]
    return {
        "ended": fmean(story.ended for story in stories),
        "words": fmean(map(len, words)),
        **{f"distinct_{n}": distinct(cut, n) if enough else None for n in (1, 2, 3)},
        "self_bleu": self_bleu(cut) if enough and len(cut) > 1 else None,
        "repeated_4grams": mean(repeated(w, 4) for w in words),
        "known_4grams": known(matches, 4),
        "known_8grams": known(matches, 8),
        "longest_copy": mean(float(m.max()) for m in matches if len(m)),
        "unknown_words": _share(matches, lambda m: m == 0),
        "balanced_quotes": mean(dialogue.balanced(story.text, story.ended) for story in stories),
        "attributed_dialogue": _ratio(dialogue.attributed(story.text) for story in stories),
        "agreeing_pronouns": _ratio(pronouns.agreeing(story.text) for story in stories),
    }


def distinct(stories: Iterable[Sequence[str]], n: int) -> float | None:
    """Different n-grams among all of all stories (distinct-n of Li et al. 2016, arXiv:1510.03055)."""
    found = [gram for words in stories for gram in ngrams(words, n)]
    return len(set(found)) / len(found) if found else None


def self_bleu(stories: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4 of each story with the others as references (Zhu et al. 2018, arXiv:1802.01886): high is alike."""
    scores = []
    for place, words in enumerate(stories):
        scores.append(bleu(words, [*stories[:place], *stories[place + 1 :]]))
    return fmean(scores)


def bleu(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 (Papineni et al. 2002) of texts of one length, which need no brevity penalty."""
    logarithms = []
    for n in range(1, BLEU_ORDER + 1):
        counts, most = count_ngrams(words, n), Counter[Ngram]()
        for reference in references:
            most |= count_ngrams(reference, n)
        matched = (counts & most).total()
        logarithms.append(math.log((matched or NO_MATCH) / counts.total()))
    return math.exp(fmean(logarithms))


def repeated(words: Sequence[str], n: int) -> float | None:
    """Share of a story's n-grams that stood in it before (seq-rep-n of Welleck et al. 2020, arXiv:1908.04319)."""
    found = ngrams(words, n)
    return 1 - len(set(found)) / len(found) if found else None


def known(matches: Sequence[NDArray[np.int64]], n: int) -> float | None:
    """Share of the n-grams that stand in a training story too (Eldan & Li 2023, arXiv:2305.07759, section 4.4)."""
    return _share([m[: len(m) - n + 1] for m in matches if len(m) >= n], lambda m: m >= n)


def rouge(text: str, other: str, n: int = 2) -> float:
    """Rouge-n of two texts as an F1 score: n-grams they have in common (Lin 2004, "ROUGE: A Package ...")."""
    first, second = (count_ngrams(words_of(t), n) for t in (text, other))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def nearest(texts: Sequence[str]) -> float | None:
    """Mean over the texts of the Rouge-2 with the one of the others that is most like it (Eldan & Li 2023)."""
    if len(texts) < 2:
        return None
    scores = np.zeros((len(texts), len(texts)))
    for i, text in enumerate(texts):
        for j in range(i):
            scores[i, j] = scores[j, i] = rouge(text, texts[j])
    return float(scores.max(1).mean())


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that there are."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _share(parts: Sequence[NDArray[np.int64]], holds: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> float | None:
    joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return float(holds(joined).mean()) if len(joined) else None


def _ratio(counts: Iterable[tuple[int, int]]) -> float | None:
    """Of the sums of (how many of them, how many)."""
    some, all_ = (sum(column) for column in zip(*counts, strict=True))
    return some / all_ if all_ else None
