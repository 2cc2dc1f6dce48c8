"""The device of the tests in this folder: this machine's GPU; without one they are skipped.

TINYLM_GPU_TESTS=cpu runs them on the CPU, to show that the tests themselves work.
"""

import os
from collections.abc import Iterator

import pytest
import torch

from tinylm.compute.cuda_driver import why_unusable


def find_device() -> str | None:
    if chosen := os.environ.get("TINYLM_GPU_TESTS"):
        return chosen
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The device type of the GPU; resets what `train.deterministic` sets."""
    found = find_device()
    if found is None:
        pytest.skip(why_unusable() or "this machine has no GPU that torch can use")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, before the first matmul
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield found
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
