"""Bits per byte, for scalars and arrays."""

import math

import numpy as np
import pytest

from tinylm.scoring.bits_per_byte import bits_per_byte, to_bits


def test_a_uniform_prediction_of_a_byte_costs_eight_bits() -> None:
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8)
    assert bits_per_byte(math.log(256), 4.0) == pytest.approx(2)
    assert to_bits(np.log([2.0, 8.0])).tolist() == pytest.approx([1, 3])


def test_a_lossy_tokenizer_has_no_bits_per_byte() -> None:
    assert bits_per_byte(2.0, None) is None
