"""The runs of a ladder: complete, valid settings with names, or one clear line."""

import pytest
import yaml

from tests.support.planning import QUICK, quick
from tinylm.base.errors import UserError
from tinylm.base.params import check
from tinylm.cli.scale import BUDGETS, SIZES
from tinylm.planning.ladder import ladder, parse_counts
from tinylm.planning.parameter_file import apply
from tinylm.planning.workload import workload_of


def test_the_default_ladder() -> None:
    runs = ladder(SIZES, BUDGETS, quick())
    assert list(runs)[:5] == ["0.2M-1M", "0.5M-1M", "1.3M-1M", "3M-1M", "0.2M-2M"]
    assert len(runs) == 12
    shapes = set()
    for name, settings in runs.items():
        values = apply(QUICK, {key: yaml.safe_load(value) for key, value in settings.items()})
        run = workload_of(check(values, name))
        size, budget = (float(word.removesuffix("M")) * 1e6 for word in name.split("-"))
        assert run.size.total == pytest.approx(size, rel=0.3)
        assert run.tokens == pytest.approx(budget, rel=0.002)
        assert 4 * run.train.val_every >= run.steps  # the last validation is at the end or soon before it
        assert run.steps - 3 * run.train.val_every > 0
        shapes.add((run.model.width, run.model.layers, run.model.heads))
    assert len(shapes) == 4


def test_all_runs_set_the_same_parameters() -> None:
    runs = ladder(SIZES, BUDGETS, quick())
    assert {tuple(settings) for settings in runs.values()} == {tuple(runs["3M-4M"])}


@pytest.mark.parametrize("text", ["", "1M", "1M,1M", "1M,1000K", "a,b", "1M,", "0,1M", "1e6,2e6", "-1M,2M", "1M;2M"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"^--sizes: expected (counts such as 0.5M,1.3M|at least 2 different counts)"):
        parse_counts("--sizes", text, 2)


def test_counts_are_sorted() -> None:
    assert parse_counts("--sizes", "2M, 300K,1B", 2) == {"300K": 3e5, "2M": 2e6, "1B": 1e9}


def test_a_budget_that_ends_in_the_warm_up() -> None:
    with pytest.raises(UserError) as raised:
        ladder(SIZES, "50K,1M,2M", quick())
    assert str(raised.value) == (
        "--budgets: 50K is 24 steps of 2,048 tokens, expected at least 40, twice train.warmup_steps (20); give more "
        "tokens, or lower train.batch_size or train.warmup_steps"
    )
    ladder(SIZES, "82K,1M,2M", quick())  # 40 steps
    with pytest.raises(UserError, match=r"^--budgets: 4K is 2 steps"):
        ladder(SIZES, "4K,1M,2M", quick(train__warmup_steps=0))


def test_sizes_that_are_the_same_model() -> None:
    with pytest.raises(UserError, match=r"^--sizes: two of 1.3M,1.31M,3M have the same shape"):
        ladder("1.3M,1.31M,3M", BUDGETS, quick())
