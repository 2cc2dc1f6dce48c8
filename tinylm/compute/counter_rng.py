"""Counter-based random numbers: a stateless function of a seed and of counters such as (step, row).

A draw does not depend on any other draw. A run can therefore resume at any step, with any number of processes, and
draw the same numbers.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.uint64]
GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # the increment of SplitMix64: 2^64 / golden ratio, made odd


def mix(x: Ints) -> Ints:
    """Return the finalizer of SplitMix64 (Steele et al. 2014): a bijection of 64-bit integers that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_counters(seed: int, *counters: Ints | int) -> Ints:
    """Return 64 random bits for each tuple of counters; arrays are broadcast."""
    state = mix(np.array([seed % 2**64], np.uint64))  # an array: NumPy warns when scalars overflow
    for counter in counters:
        state = mix(state + GOLDEN_GAMMA * (np.atleast_1d(np.asarray(counter, np.uint64)) + np.uint64(1)))
    return state


def uniform(seed: int, *counters: Ints | int) -> NDArray[np.float64]:
    """Return a number in [0, 1) with 53 random bits for each tuple of counters."""
    return (hash_counters(seed, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53
