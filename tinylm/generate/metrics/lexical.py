"""Metrics of stories that need no judge model; interpret each relative to its value for human stories.

Stories are compared by their words (words.py). A metric that is undefined for the given stories is None.
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

FIXED_WORDS = 50  # words of each story, for metrics that depend on the amount of text
BLEU_ORDER = 4
NO_MATCH = 0.1  # smoothing: replaces zero matches, which would make BLEU zero

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Judged:
    """A generated or human story, cut at the same limit."""

    text: str
    ended: bool  # whether it reached end-of-text, and not the limit
    matches: NDArray[np.int64]  # (words,) from novelty.longest_matches


def judge(stories: Sequence[Judged]) -> Metrics:
    """Return all metrics of these stories; report/meanings.py explains each. Shares are between 0 and 1."""
    words = [words_of(story.text) for story in stories]
    cut = [w[:FIXED_WORDS] for w in words if len(w) >= FIXED_WORDS][: len(words) // 2]
    enough = bool(cut) and len(cut) == len(words) // 2  # else comparisons would use different amounts of text
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
    """Return the share of distinct n-grams of all stories (distinct-n, Li et al. 2016, arXiv:1510.03055)."""
    grams = [gram for words in stories for gram in ngrams(words, n)]
    return len(set(grams)) / len(grams) if grams else None


def self_bleu(stories: Sequence[Sequence[str]]) -> float:
    """Return the mean BLEU-4 of each story against the others (Zhu et al. 2018, arXiv:1802.01886); high means alike."""
    scores = []
    for index, words in enumerate(stories):
        scores.append(bleu(words, [*stories[:index], *stories[index + 1 :]]))
    return fmean(scores)


def bleu(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU-4 (Papineni et al. 2002) for texts of equal length, which need no brevity penalty."""
    logarithms = []
    for n in range(1, BLEU_ORDER + 1):
        counts, most = count_ngrams(words, n), Counter[Ngram]()
        for reference in references:
            most |= count_ngrams(reference, n)
        matched = (counts & most).total()
        logarithms.append(math.log((matched or NO_MATCH) / counts.total()))
    return math.exp(fmean(logarithms))


def repeated(words: Sequence[str], n: int) -> float | None:
    """Return the share of repeated n-grams in a story (seq-rep-n, Welleck et al. 2020, arXiv:1908.04319)."""
    grams = ngrams(words, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def known(matches: Sequence[NDArray[np.int64]], n: int) -> float | None:
    """Return the share of n-grams that occur in a training story (Eldan & Li 2023, arXiv:2305.07759, section 4.4)."""
    return _share([m[: len(m) - n + 1] for m in matches if len(m) >= n], lambda m: m >= n)


def rouge(text: str, other: str, n: int = 2) -> float:
    """Return Rouge-n of two texts as an F1 score over common n-grams (Lin 2004, "ROUGE: A Package ...")."""
    first, second = (count_ngrams(words_of(t), n) for t in (text, other))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def nearest(texts: Sequence[str]) -> float | None:
    """Return the mean Rouge-2 of each text with the most similar other text (Eldan & Li 2023)."""
    if len(texts) < 2:
        return None
    scores = np.zeros((len(texts), len(texts)))
    for i, text in enumerate(texts):
        for j in range(i):
            scores[i, j] = scores[j, i] = rouge(text, texts[j])
    return float(scores.max(1).mean())


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if all are."""
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


def _share(parts: Sequence[NDArray[np.int64]], test: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> float | None:
    """Return the share of all values of `parts` that pass `test`."""
    joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return float(test(joined).mean()) if len(joined) else None


def _ratio(counts: Iterable[tuple[int, int]]) -> float | None:
    """Return the ratio of the sums of (part, total) pairs."""
    part, total = (sum(column) for column in zip(*counts, strict=True))
    return part / total if total else None
