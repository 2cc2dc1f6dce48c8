"""Linear layers for writing on a CPU, where the weights do not change and matmuls have few rows.

For a single row, `F.linear` reads float32 weights at a quarter of the speed of memory; for many rows it uses half of
the float32 units of an AMD CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.model.layers import Linear
from tinylm.model.transformer import Transformer

CACHED_BYTES = 8 << 20  # weights of a model that the processor's caches hold


class PackedLinear(nn.Module):
    """A linear layer without gradients, with its weights in the layout that oneDNN reads fastest."""

    def __init__(self, layer: Linear):
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self.weight, self.bias = nn.Parameter(packed, requires_grad=False), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return y


class OneRowLinear(nn.Module):
    """A float32 linear layer without gradients that is fast for a single row: it multiplies two halves of the weights.

    A batch of two matrices runs in another kernel of torch, which reads memory faster and uses two cores.
    """

    def __init__(self, layer: Linear):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        outputs, inputs = self.weight.shape
        if x.numel() > inputs or outputs % 2:
            return F.linear(x, self.weight, self.bias)
        halves = torch.bmm(self.weight.view(2, -1, inputs), x.view(1, 1, inputs).expand(2, -1, -1).mT)
        y = halves.view(*x.shape[:-1], outputs)
        return y if self.bias is None else y + self.bias


def for_inference(model: Transformer, together: bool) -> Transformer:
    """Replace the linear layers of a model by those that write fastest; returns the model, which can only write.

    `together` says whether it writes many stories at once, and not one after the other.
    """
    weight = model.embedding.weight
    if weight.device.type != "cpu":
        return model
    if weight.dtype != torch.float32 or together:
        if torch.backends.mkldnn.is_available():
            _replace(model, PackedLinear)
    elif weight.itemsize * model.size().parameters > CACHED_BYTES:
        _replace(model, OneRowLinear)
    return model


def _replace(model: Transformer, kind: type[PackedLinear] | type[OneRowLinear]) -> None:
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, Linear):
                setattr(module, name, kind(layer))
