"""Random numbers without a state: a function of a seed and of counters such as (step, row).

What is drawn for one row does not depend on what was drawn for others or before, so that a run can
start at any step, in any number of parts, and draw the same.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.uint64]
GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's step: odd, 2^64 over the golden ratio


def mix(x: Ints) -> Ints:
    """A bijection of 64-bit integers that looks random: the finaliser of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_counters(seed: int, *counters: Ints | int) -> Ints:
    """64 random bits for each tuple of counters; arrays broadcast."""
    state = mix(np.array([seed % 2**64], np.uint64))  # arrays wrap around at 2^64, scalars would warn
    for counter in counters:
        state = mix(state + GOLDEN_GAMMA * (np.atleast_1d(np.asarray(counter, np.uint64)) + np.uint64(1)))
    return state


def uniform(seed: int, *counters: Ints | int) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one for each tuple of counters."""
    return (hash_counters(seed, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53
