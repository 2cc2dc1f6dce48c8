"""Key-value cache: keys and values of past tokens, so that each new token takes one decoding step.

Shapes: B stories, T tokens, H heads, K head size, S tokens in the cache.
"""

import torch
from torch import Tensor

from tinylm.model.params import ModelParams


class KVCache:
    """Keys and values of the tokens so far, in preallocated tensors for each layer.

    Keys are (B, H, K, S) and values (B, H, S, K), which a single query reads fastest. Queries attend to a prefix of the
    cache whose length is rounded up to a multiple of `granularity`, and a mask hides the unused part. A larger
    granularity means fewer shapes for torch.compile.
    """

    def __init__(
        self, p: ModelParams, batch: int, length: int, dtype: torch.dtype, device: torch.device, granularity: int = 1
    ):
        head_size = p.width // p.heads
        keys, values = (batch, p.heads, head_size, length), (batch, p.heads, length, head_size)
        self.keys = [torch.zeros(keys, dtype=dtype, device=device) for _ in range(p.layers)]
        self.values = [torch.zeros(values, dtype=dtype, device=device) for _ in range(p.layers)]
        self.granularity, self.length = granularity, 0
        self.reserve(0)

    def reserve(self, tokens: int) -> None:
        """Reserve room for the next `tokens` tokens; call it once before the layers append them."""
        device, size = self.values[0].device, self.values[0].shape[2]
        first, self.length = self.length, self.length + tokens
        self.positions = torch.arange(first, self.length, device=device)  # (T,) of the new tokens
        self.end = min(-(-self.length // self.granularity) * self.granularity, size)  # queries attend to [0, end)
        # (T, end), True where a query attends; None if `attend` needs no mask: a single query, or an empty cache.
        self.mask: Tensor | None = None
        if (first and tokens > 1) or self.granularity > 1:
            self.mask = torch.arange(self.end, device=device) <= self.positions[:, None]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values (B, H, T, K) of the new tokens; returns those to attend to, (B, H, end, K)."""
        self.keys[layer].index_copy_(3, self.positions, key.mT)
        self.values[layer].index_copy_(2, self.positions, value)
        return self.keys[layer][..., : self.end].mT, self.values[layer][:, :, : self.end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows of the batch except `rows` (indices), in this order; copies only those that change places."""
        count = len(rows)
        places = torch.nonzero(rows != torch.arange(count, device=rows.device)).flatten()
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            for used in (keys[..., : self.length], values[:, :, : self.length]):
                used[places] = used[rows[places]]
            self.keys[layer], self.values[layer] = keys[:count], values[:count]


def bytes_per_token(p: ModelParams, dtype: torch.dtype) -> int:
    """Return the size of the keys and values of one token, in all layers."""
    return 2 * p.layers * p.width * dtype.itemsize
