"""A run for a time and a device: valid, as long as asked for, and better than its neighbours."""

import math
from pathlib import Path

import pytest

from tests.planning.test_law import write_law
from tests.support.planning import QUICK, quick, workload
from tinylm.base.errors import UserError
from tinylm.base.params import check
from tinylm.planning import proposal as module
from tinylm.planning.devices import find_cluster
from tinylm.planning.estimate import estimate
from tinylm.planning.law import KnownLaw, find_law
from tinylm.planning.parameter_file import apply
from tinylm.planning.proposal import propose
from tinylm.planning.shapes import shapes
from tinylm.planning.targets import NamedTarget
from tinylm.planning.workload import workload_of

T4 = NamedTarget(find_cluster("T4"))


@pytest.fixture
def law(tmp_path: Path) -> KnownLaw:
    write_law(tmp_path)
    found = find_law(quick(), tmp_path)
    assert found
    return found


@pytest.mark.parametrize(("hours", "device"), [(0.05, "T4"), (4.0, "T4"), (1.0, "2xL4"), (4.0, "8xH100")])
def test_the_run_is_valid_and_takes_the_time(hours: float, device: str, law: KnownLaw) -> None:
    target = NamedTarget(find_cluster(device))
    chosen = propose(workload(), "tinystories", 3600 * hours, target, law)
    run = workload_of(check(apply(QUICK, chosen.changes), ""))
    assert run.train == chosen.run.train
    assert estimate(run, target, law).seconds == pytest.approx(3600 * hours, rel=0.02)
    assert run.train.batch_size % target.devices == 0
    assert run.times_seen <= 1 or chosen.changes["download.max_stories"] is None
    assert run.train.warmup_steps < 0.2 * run.steps


def test_no_other_shape_promises_fewer_bits(law: KnownLaw) -> None:
    base = workload()
    best = propose(base, "tinystories", 600, T4, law).run
    bits = {}
    for model in list(shapes(base.model))[:36]:
        run = module._fill(base, model, 600, T4)
        assert run
        bits[model.width] = law.predict(run.size, run.tokens)
    assert min(bits, key=lambda width: bits[width]) == best.model.width
    assert len(bits) == 36


def test_two_worse_shapes_do_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole layers make the ladder uneven."""
    scores = {16: 3.0, 32: 2.0, 48: 2.5, 64: 2.4, 80: 1.0}
    monkeypatch.setattr(module, "_score", lambda run, law: scores.get(run.model.width, 5.0))
    assert propose(workload(), "tinystories", 3600, T4, None).run.model.width == 80


def test_more_time_buys_more_tokens_and_a_larger_model(law: KnownLaw) -> None:
    short, long = (propose(workload(), "tinystories", 3600 * hours, T4, law).run for hours in (0.1, 5))
    assert long.size.total > short.size.total
    assert long.tokens > short.tokens


def test_without_a_law_about_twenty_tokens_per_parameter() -> None:
    for hours in (0.5, 4, 30):
        run = propose(workload(), "tinystories", 3600 * hours, T4, None).run
        assert 14 < run.tokens / run.size.total < 28


def test_rates_and_the_batch_follow_their_rules() -> None:
    base = workload()
    run = propose(base, "tinystories", 3600, T4, None).run
    factor = run.train.batch_size / base.train.batch_size
    assert factor == pytest.approx(math.sqrt(run.tokens / base.tokens), rel=0.42)  # a power of two
    assert math.log2(run.train.batch_size).is_integer()
    assert run.train.muon_lr == pytest.approx(0.02 * min(2, math.sqrt(factor)), rel=0.05)
    assert run.train.peak_lr == run.train.muon_lr
    longer = propose(base, "tinystories", 360_000, T4, None).run
    assert longer.train.muon_lr == 0.04  # at most doubled
    assert longer.train.warmup_steps == pytest.approx(longer.steps / 150, rel=0.02)


def test_what_does_not_fit_into_memory_is_not_proposed(law: KnownLaw) -> None:
    import dataclasses

    large = propose(workload(), "tinystories", 360_000, T4, law).run
    device = dataclasses.replace(T4.cluster.device, memory=1.6)
    small = NamedTarget(dataclasses.replace(T4.cluster, device=device))
    run = propose(workload(), "tinystories", 360_000, small, law).run
    assert run.size.total < large.size.total
    estimate(run, small, None)
    assert run.train.micro_batch_size
    tiny = NamedTarget(dataclasses.replace(T4.cluster, device=dataclasses.replace(device, memory=1.0)))
    with pytest.raises(UserError, match=r"^T4: not even the smallest model fits into its memory; use another --device"):
        propose(workload(), "tinystories", 360_000, tiny, law)


def test_too_little_time() -> None:
    with pytest.raises(
        UserError, match=r"^--hours: too little on T4, where the smallest model makes \d+ steps in 2 sec"
    ):
        propose(workload(), "tinystories", 2, T4, None)


def test_the_text_is_as_long_as_the_run_needs(law: KnownLaw) -> None:
    changes = propose(workload(), "tinystories", 600, T4, law).changes
    assert changes["download.max_stories"] % 10_000 == 0
    assert "download.max_stories" not in propose(workload(), "sample", 600, T4, law).changes
    assert propose(workload(), "tinystories", 3.6e6, T4, law).changes["download.max_stories"] is None
