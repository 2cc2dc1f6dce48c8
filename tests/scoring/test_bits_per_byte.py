"""One definition of bits per byte, for numbers and for arrays."""

import math

import numpy as np
import pytest

from tinylm.scoring.bits_per_byte import bits_per_byte, to_bits


def test_a_guess_among_256_bytes_costs_eight_bits() -> None:
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8)
    assert bits_per_byte(math.log(256), 4.0) == pytest.approx(2)
    assert to_bits(np.log([2.0, 8.0])).tolist() == pytest.approx([1, 3])


def test_ids_that_lose_text_have_none() -> None:
    assert bits_per_byte(2.0, None) is None
