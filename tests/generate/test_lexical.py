"""Metrics of stories, on texts small enough to compute them by hand."""

import math
from typing import Any

import numpy as np
import pytest

from tinylm.generate.metrics import dialogue, pronouns
from tinylm.generate.metrics.lexical import Judged, bleu, distinct, judge, known, nearest, repeated, rouge, self_bleu
from tinylm.report.meanings import MEANINGS


def judged(text: str, matches: list[int] | None = None, ended: bool = True) -> Judged:
    return Judged(text, ended, np.array(matches or [], np.int64))


def test_distinct_n_is_the_share_of_distinct_ngrams() -> None:
    stories = [["a", "b", "a"], ["a", "b", "c"]]
    assert distinct(stories, 1) == 3 / 6
    assert distinct(stories, 2) == 3 / 4
    assert distinct([["a"]], 2) is None


def test_repetition_counts_within_a_story() -> None:
    assert repeated("a b c d a b c d".split(), 4) == pytest.approx(1 / 5)
    assert repeated("a b c d e f".split(), 4) == 0
    assert repeated(["a"], 4) is None


def test_bleu_is_one_for_equal_texts_and_small_for_different_ones() -> None:
    words = "the cat sat on the mat".split()
    assert bleu(words, [words]) == pytest.approx(1)
    assert bleu("a b c d e".split(), [words]) < 0.05


def test_bleu_is_the_geometric_mean_of_clipped_precisions() -> None:
    candidate, reference = "the the cat sat".split(), "the cat sat down".split()
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.1 / 1) ** 0.25
    assert bleu(candidate, [reference]) == pytest.approx(expected)
    assert bleu(candidate, [reference, "the the hat".split()]) > expected


def test_self_bleu_is_high_for_stories_that_are_alike() -> None:
    alike = [f"once upon a time there was {name} who was happy".split() for name in ("tom", "ann", "ben")]
    unlike = ["a b c d e".split(), "f g h i j".split(), "k l m n o".split()]
    assert self_bleu(alike) > 0.5 > self_bleu(unlike)


def test_known_ngrams_occur_in_training_stories() -> None:
    assert known([np.array([5, 4, 3, 2, 1])], 4) == 1
    assert known([np.array([3, 2, 1, 4, 3, 2, 1])], 4) == 1 / 4
    assert known([np.array([3, 2, 1])], 4) is None


def test_rouge_2_counts_common_bigrams() -> None:
    assert rouge("The cat sat.", "the cat sat") == 1
    assert rouge("the cat sat", "the cat ran off") == pytest.approx(2 * 1 / (2 + 3))
    assert rouge("", "") == 0


def test_nearest_uses_the_most_similar_other_text() -> None:
    assert nearest(["a b c", "a b d", "x y z"]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert nearest(["alone"]) is None


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        ('"Hi," said Tom.', True, 1.0),
        ('"Hi, said Tom.', True, 0.0),
        ("“Hi,” said Tom.", True, 1.0),
        ('"Hi.\n\nBye."', True, 0.0),
        ('"Hi," said Tom.\n"And', False, 1.0),
        ('"And', False, None),
        ("Tom's hat.", True, None),
    ],
)
def test_quotation_marks_are_balanced(text: str, ended: bool, expected: float | None) -> None:
    assert dialogue.balanced(text, ended) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Hi," said Tom. "Bye."', (1, 2)),
        ('Tom asked, "Why?" Ann ran.', (1, 1)),
        ('Ann ran home. "Why?" Ben looked up.', (0, 1)),
        ("He said that.", (0, 0)),
        ("“Hi!” the big brown bear shouted.", (1, 1)),
    ],
)
def test_quotations_are_attributed_to_speakers(text: str, expected: tuple[int, int]) -> None:
    assert dialogue.attributed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a little girl named Lily. She had her hat.", (2, 2)),
        ("a little girl named Lily. He had her hat.", (1, 2)),
        ("a boy called Tom. He saw his mom. She ran.", (2, 2)),
        ("a boy named Tom. He met a bird, Lily. She ran.", (1, 1)),
        ("a cat named Tom. He ran.", (0, 0)),
        ("a girl named Sue. Tom lost her hat. He ran.", (1, 2)),
    ],
)
def test_pronouns_agree_with_the_character(text: str, expected: tuple[int, int]) -> None:
    assert pronouns.agreeing(text) == expected


def test_all_metrics_of_some_stories() -> None:
    words = [f"w{n}" for n in range(50)]
    first = judged(" ".join(words) + ' "Hi," said Tom.', [4, 3, 2, 1] + [0] * 49)
    metrics = judge([first, judged("", ended=False), judged(" ".join(reversed(words)), [1] * 50)])
    expected: dict[str, Any] = {
        "ended": 2 / 3,
        "words": (53 + 50) / 3,
        "distinct_1": 1,
        "repeated_4grams": 0,
        "known_4grams": 1 / (50 + 47),
        "known_8grams": 0,
        "longest_copy": 2.5,
        "unknown_words": 49 / 103,
        "balanced_quotes": 1,
        "attributed_dialogue": 1,
        "agreeing_pronouns": None,
        "self_bleu": None,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_metrics_that_depend_on_the_amount_of_text_are_none_for_too_little() -> None:
    metrics = judge([judged("too short", [1, 1])] * 4)
    assert metrics["distinct_1"] is metrics["distinct_2"] is metrics["self_bleu"] is None


def test_the_number_of_compared_stories_does_not_depend_on_their_length() -> None:
    """Otherwise a model with longer stories would look less diverse."""
    stories = [judged(" ".join(f"{n}w{i}" for i in range(60)), [0] * 60) for n in range(4)]
    short = [*stories[:2], judged("a", [0]), judged("b", [0])]
    assert judge(short)["distinct_2"] == judge(stories)["distinct_2"]
    assert judge(short)["self_bleu"] == pytest.approx(judge(stories)["self_bleu"])
    assert not math.isnan(judge(short)["self_bleu"] or 0)


def test_every_metric_has_an_explanation() -> None:
    metrics = judge([judged("a b", [1, 1])])
    assert set(metrics) < set(MEANINGS)
