"""Rouge and BLEU are those of the libraries that the field uses, on generated stories."""

import itertools

import pytest

from tinylm.download import sample
from tinylm.generate.metrics.lexical import bleu, rouge, self_bleu
from tinylm.generate.metrics.words import words_of

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="needs rouge-score, of the development tools")
sacrebleu = pytest.importorskip("sacrebleu", reason="needs sacrebleu, of the development tools")

STORIES = [story.replace("'", " ") for story in sample.stories(24, seed=3)]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_rouge_is_that_of_rouge_score(n: int) -> None:
    scorer = rouge_scorer.RougeScorer([f"rouge{n}"])
    for a, b in itertools.pairwise(STORIES):
        assert rouge(a, b, n) == pytest.approx(scorer.score(a, b)[f"rouge{n}"].fmeasure, abs=1e-12)


def test_bleu_is_that_of_sacrebleu() -> None:
    cut = [words_of(story)[:50] for story in STORIES]
    scorer = sacrebleu.BLEU(tokenize="none", effective_order=False, smooth_method="floor", smooth_value=0.1)
    expected = []
    for index, words in enumerate(cut):
        others = [*cut[:index], *cut[index + 1 :]]
        expected.append(scorer.sentence_score(" ".join(words), [" ".join(other) for other in others]).score / 100)
        assert bleu(words, others) == pytest.approx(expected[-1], abs=1e-12)
    assert self_bleu(cut) == pytest.approx(sum(expected) / len(expected), abs=1e-12)
