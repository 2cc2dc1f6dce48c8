"""Muon for sharded matrices: each process orthogonalizes some of the matrices, and all of them get their rows back.

Momentum and weight decay work on the rows that a process holds. Newton-Schulz iterations need whole matrices: of the N
matrices of a shape each process gathers its share, N / processes, in the dtype of the iterations.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor

from tinylm.train.optim.muon import Muon, orthogonalize, wide
from tinylm.train.sharding.sharded_model import rows_of

# From what this process sends, one after the other for each process, and the numbers of elements that each process
# gets and sends, to what this process receives.
Exchange = Callable[[Tensor, list[int], list[int]], Tensor]


class ShardedMuon(Muon):
    """Muon on matrices that are DTensors, sharded by rows over the processes of one mesh."""

    def __init__(self, weights: Iterable[nn.Parameter], *settings: Any):
        weights = list(weights)
        super().__init__(weights, *settings)
        assert isinstance(weights[0], DTensor)
        self._mesh = weights[0].device_mesh

    def _step(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        updates = []
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            gradient, average = _rows(weight.grad), _rows(state["momentum"])
            average.lerp_(gradient, 1 - momentum)
            updates.append(gradient.lerp_(average, momentum).to(self.dtype))
        shapes = [weight.shape for weight in weights]
        updates = orthogonalize_sharded(updates, shapes, self._mesh.get_local_rank(), self._mesh.size(), self._exchange)
        for weight, update, (rows, columns) in zip(weights, updates, shapes, strict=True):
            own = _rows(weight)
            own.mul_(1 - lr * weight_decay)
            own.add_(update.to(own.dtype), alpha=-lr * max(1.0, rows / columns) ** 0.5)

    def _exchange(self, sent: Tensor, send: list[int], receive: list[int]) -> Tensor:
        received = sent.new_empty(sum(receive))
        dist.all_to_all_single(received, sent, receive, send, group=self._mesh.get_group())
        return received


def _rows(matrix: Tensor | None) -> Tensor:
    """The rows of a sharded matrix that this process holds; changing them changes the matrix."""
    assert isinstance(matrix, DTensor)
    return matrix.to_local()


def orthogonalize_sharded(
    shards: list[Tensor], shapes: list[torch.Size], rank: int, processes: int, exchange: Exchange
) -> list[Tensor]:
    """Orthogonalize matrices of which each process holds rows (`rows_of`); returns the same rows of the results.

    `shapes` are those of the whole matrices, equal but for transposition. Process i gets the matrices i, i + processes,
    i + 2 x processes and so on.
    """
    owned = [range(process, len(shapes), processes) for process in range(processes)]
    spans = [[rows_of(rows, process, processes) for rows, _ in shapes] for process in range(processes)]

    def counts(process: int, matrices: Iterable[int]) -> list[int]:
        """Elements of the rows that a process holds of each of the matrices."""
        return [(spans[process][i].stop - spans[process][i].start) * shapes[i][1] for i in matrices]

    to_owners = [sum(counts(rank, owned[process])) for process in range(processes)]
    to_holders = [sum(counts(process, owned[rank])) for process in range(processes)]
    order = [i for matrices in owned for i in matrices]
    received = exchange(_join([shards[i] for i in order], shards[0]), to_owners, to_holders)
    parts = received.split([count for process in range(processes) for count in counts(process, owned[rank])])
    own = len(owned[rank])
    whole = [torch.cat(parts[number::own]).view(shapes[i]) for number, i in enumerate(owned[rank])]
    if whole:
        wides = orthogonalize(torch.stack([wide(matrix) for matrix in whole]), shards[0].dtype)
        whole = [x if x.shape == shapes[i] else x.mT for i, x in zip(owned[rank], wides, strict=True)]
    back = [whole[number][spans[process][i]] for process in range(processes) for number, i in enumerate(owned[rank])]
    returned = exchange(_join(back, shards[0]), to_holders, to_owners).split(counts(rank, order))
    rows = dict(zip(order, returned, strict=True))
    return [rows[i].view(shard.shape) for i, shard in enumerate(shards)]


def _join(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts]) if parts else like.new_empty(0)
