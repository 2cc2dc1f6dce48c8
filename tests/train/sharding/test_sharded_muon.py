"""Sharded matrices are orthogonalized as whole ones are, each by one process, whatever their shapes and number."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tinylm.train.optim.muon import orthogonalize, wide
from tinylm.train.sharding import sharded_muon
from tinylm.train.sharding.momenta import same_shape, stacked
from tinylm.train.sharding.sharded_model import rows_of
from tinylm.train.sharding.sharded_muon import orthogonalize_sharded


class Exchange:
    """All-to-all between threads."""

    def __init__(self, processes: int):
        self.barrier = threading.Barrier(processes, timeout=60)
        self.sent: list[tuple[Tensor, ...]] = [()] * processes

    def of(self, rank: int) -> Callable[[Tensor, list[int], list[int]], Tensor]:
        def exchange(sent: Tensor, send: list[int], receive: list[int]) -> Tensor:
            self.sent[rank] = sent.split(send)
            self.barrier.wait()
            received = [parts[rank] for parts in self.sent]
            assert [len(part) for part in received] == receive
            self.barrier.wait()
            return torch.cat(received)

        return exchange


def in_threads(processes: int, act: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * processes

    def run(rank: int) -> None:
        results[rank] = act(rank)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 13),
    columns=st.integers(1, 13),
    tall=st.lists(st.booleans(), min_size=1, max_size=7),
    processes=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_the_rows_of_each_process_are_those_of_whole_matrices(
    rows: int, columns: int, tall: list[bool], processes: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [torch.Size((rows, columns) if flag else (columns, rows)) for flag in tall]
    whole = [torch.randn(shape, generator=generator) for shape in shapes]
    exchange = Exchange(processes)

    def act(rank: int) -> list[Tensor]:
        shards = [matrix[rows_of(len(matrix), rank, processes)] for matrix in whole]
        return orthogonalize_sharded(shards, shapes, rank, processes, exchange.of(rank))

    shards = in_threads(processes, act)
    for i, matrix in enumerate(whole):
        expected = orthogonalize(wide(matrix)[None], torch.float32)[0]
        expected = expected if expected.shape == matrix.shape else expected.T
        torch.testing.assert_close(torch.cat([own[i] for own in shards]), expected, rtol=1e-3, atol=1e-4)


def test_each_matrix_is_orthogonalized_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(sharded_muon, "orthogonalize", lambda x, _: done.append(len(x)) or x)
    exchange, shapes = Exchange(3), [torch.Size((6, 4))] * 7

    def act(rank: int) -> None:
        shards = [torch.ones(6, 4)[rows_of(6, rank, 3)]] * 7
        orthogonalize_sharded(shards, shapes, rank, 3, exchange.of(rank))

    in_threads(3, act)
    assert sorted(done) == [2, 2, 3]


@given(rows=st.integers(0, 40), processes=st.integers(1, 9))
def test_rows_are_divided_as_torch_divides_them(rows: int, processes: int) -> None:
    x = torch.arange(rows)
    parts = [x[rows_of(rows, rank, processes)] for rank in range(processes)]
    chunks = [*x.chunk(processes), *[x[:0]] * processes]
    assert all(torch.equal(part, chunk) for part, chunk in zip(parts, chunks, strict=False))
    assert torch.equal(torch.cat(parts), x)


def test_momenta_are_stacked_by_shape() -> None:
    shapes = [(4, 6), (5, 5), (6, 4), (4, 6)]
    tensors = {f"optimizer.0.{i}.momentum": torch.rand(shape) for i, shape in enumerate(shapes)}
    joined = stacked(tensors | {"optimizer.1.0.step": torch.tensor(3.0)})
    assert joined.keys() == {"optimizer.0.0.momentum", "optimizer.0.1.momentum", "optimizer.1.0.step"}
    assert torch.equal(joined["optimizer.0.0.momentum"][1], tensors["optimizer.0.2.momentum"].T)
    assert joined["optimizer.0.1.momentum"].shape == (1, 5, 5)
    many = [torch.Size((n, n)) for n in range(7, 18)]
    many[2] = many[10] = torch.Size((4, 6))
    assert [2, 10] in same_shape(many)
    named = {f"optimizer.0.{i}.momentum": torch.full(tuple(shape), float(i)) for i, shape in enumerate(many)}
    assert stacked(named)["optimizer.0.2.momentum"][:, 0, 0].tolist() == [2, 10]  # not in the order of text
