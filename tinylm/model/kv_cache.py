"""Keys and values of the tokens that were read, so that each next token is one step.

Shapes: B stories, T tokens, H heads, K head size, S tokens in the cache.
"""

import torch
from torch import Tensor

from tinylm.model.params import ModelParams


class KVCache:
    """Keys and values of the tokens read so far, in tensors of fixed size: (B, H, S, K) for each layer.

    With `grain` a query looks at a multiple of so many places, of which it sees its own: a step that
    is compiled then has few shapes.
    """

    def __init__(
        self, p: ModelParams, batch: int, length: int, dtype: torch.dtype, device: torch.device, grain: int = 1
    ):
        shape = (batch, p.heads, length, p.width // p.heads)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(p.layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.grain, self.length = grain, 0
        self.begin(0)

    def begin(self, tokens: int) -> None:
        """Make ready to read so many tokens behind those read before."""
        device, size = self.keys[0].device, self.keys[0].shape[2]
        first, self.length = self.length, self.length + tokens
        self.places = torch.arange(first, self.length, device=device)  # (T,) where they go
        self.end = min(-(-self.length // self.grain) * self.grain, size)  # what queries look at ends here
        self.mask: Tensor | None = None  # (T, end); None: a query sees all, or the plain triangle where first is 0
        if (first and tokens > 1) or self.grain > 1:
            self.mask = torch.arange(self.end, device=device) <= self.places[:, None]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H, T, K) behind what `layer` holds; give what queries look at."""
        self.keys[layer].index_copy_(2, self.places, key)
        self.values[layer].index_copy_(2, self.places, value)
        return self.keys[layer][:, :, : self.end], self.values[layer][:, :, : self.end]

    def keep(self, rows: Tensor) -> None:
        """Forget all rows of the batch but these."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
