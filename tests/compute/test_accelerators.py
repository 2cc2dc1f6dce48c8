"""No code mixes devices, or uses float64 where it is missing: whole runs on fake GPUs (support/pretended.py)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support import tiny
from tests.support.pretended import pretended
from tests.train.test_resuming import break_and_go_on
from tinylm.evaluate.score import score_split
from tinylm.sampling.generation import generate
from tinylm.sampling.sampler import Sampling
from tinylm.tokens.store import TokenStore
from tinylm.train.outputs import Folders

BreakOff = Callable[[int, Callable[[], object]], None]


@pytest.fixture(params=["cuda", "mps"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with pretended(request.param):
        yield request.param


def test_the_fake_device_refuses_what_a_real_one_does(device: str) -> None:
    there, here = torch.ones(3, device=device), torch.ones(3)
    assert str(there.device) == f"{device}:0"
    assert (there + 1).sum().item() == 6
    for mixture in (lambda: there + here, lambda: torch.stack([there[0], here[0]]), lambda: there @ here):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            mixture()
    assert (there + here[0]).sum().item() == 6  # a CPU scalar is accepted
    if device == "mps":
        with pytest.raises(TypeError, match="doesn't support float64"):
            there.double()
    assert there.cpu().double().sum() == 3


def test_an_interrupted_run_on_a_gpu_gives_the_same_bytes(folders: Folders, break_off: BreakOff, device: str) -> None:
    """A whole run: steps of both optimizers, validation, checkpoints, live samples, resume checkpoints."""
    settings: dict[str, Any] = {"steps": 8, "log_every": 4, "resume_every": 5, "val_stories": 2, "context": 32}
    runtime = {"device": device, "sample_every": 8}
    assert break_and_go_on(folders, break_off, runtime, **settings)["device"] == device


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_evaluation_and_generation_on_a_gpu(tiny_tokens: TokenStore, device: str, architecture: str) -> None:
    """They give the same results as on a CPU."""
    model = tiny.make_model(spread=0.1, architecture=architecture, qk_norm=architecture == "llama", context=32)
    split, end = replace(tiny_tokens.val, tokens=tiny_tokens.val.tokens[:100]), tiny_tokens.end_of_text
    sampling = Sampling(temperature=1.0, top_k=None, top_p=0.9, max_tokens=12, seed=1)
    results = []
    for target in ("cpu", device):
        model = model.to(target)
        with torch.no_grad():  # instead of inference mode, which does not support tensor subclasses
            score = score_split.__wrapped__(model, split, end, stride=16, batch=2, bar=False)  # type: ignore[attr-defined]
        results.append((score.loss, list(generate(model, [[5, 6], [7]], [0, 1], [sampling] * 2, end))))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    assert [story.continuation for story in results[1][1]] == [story.continuation for story in results[0][1]]
