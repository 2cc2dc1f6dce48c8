"""The picture of a sweep: its colours. What it draws is in test_sweep_study.py."""

from tests.support.accessibility import SHAPE_CONTRAST, contrast, least_distance
from tinylm.experiments.sweep.picture import BEST, COMPLETE, PRUNED


def test_colour_blind_readers_can_tell_its_colours_apart() -> None:
    assert least_distance((BEST, COMPLETE)) >= 20
    assert all(contrast(colour, "white") >= SHAPE_CONTRAST for colour in (BEST, COMPLETE, PRUNED))


def test_a_pair_that_colour_blind_readers_confuse_is_noticed() -> None:
    """The measure itself: only full vision tells this red from this green."""
    red, green, blue = "#b0452b", "#2b7449", "#0072b2"
    assert least_distance((red, green)) < 10
    assert least_distance((red, blue)) > 20
