"""Attention for training: each implementation computes the same, and the processor decides which one is used."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import tiny
from tinylm.model import attention
from tinylm.model.attention import plain_attention, training_attention
from tinylm.model.flash_attention import flash_attention

LENGTHS = [1, 2, 100, 128, 129, 300, 600]  # around the size of a block of queries, and more than the most blocks


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("implementation", [lambda *qkv: plain_attention(*qkv, dropout=0.0), flash_attention])
def test_attention_for_training_by_its_definition(
    implementation: Callable[[Tensor, Tensor, Tensor], Tensor], length: int
) -> None:
    """Output and gradients, compared with torch's in float64."""
    qkv = [torch.randn(2, 3, length, 16, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    upstream = qkv.pop()
    expected = [t.double().requires_grad_() for t in qkv]
    found = [t.requires_grad_() for t in qkv]
    y = implementation(*found)
    reference = F.scaled_dot_product_attention(*expected, is_causal=True)
    y.backward(upstream)
    reference.backward(upstream.double())
    for one, other in zip((y, *(t.grad for t in found)), (reference, *(t.grad for t in expected)), strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one.double(), other, rtol=1e-4, atol=1e-5)


def test_flash_attention_is_for_matrix_units(monkeypatch: pytest.MonkeyPatch) -> None:
    bf16 = torch.bfloat16
    monkeypatch.setattr(attention, "HAS_AMX", False)
    assert [training_attention("cpu", bf16, T, 0.0) for T in (512, 513)] == ["plain", "torch"]
    monkeypatch.setattr(attention, "HAS_AMX", True)
    assert [training_attention("cpu", bf16, T, 0.0) for T in (512, 513)] == ["flash", "flash"]
    assert [training_attention("cpu", torch.float32, T, 0.0) for T in (512, 513)] == ["plain", "torch"]
    assert [training_attention("cpu", bf16, T, 0.1) for T in (512, 513)] == ["plain", "torch"]
    assert training_attention("cuda", bf16, 512, 0.0) == "torch"


def test_a_model_trains_with_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = (
        tiny.make_model(300, spread=0.2),
        torch.randint(0, 300, (2, 41), generator=torch.Generator().manual_seed(1)),
    )
    model.compute_dtype = torch.bfloat16
    gradients = []
    for has_amx in (False, True):
        monkeypatch.setattr(attention, "HAS_AMX", has_amx)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "plain_attention" if has_amx else "flash_attention", None)  # the one not used
            model.train().loss(ids[:, :-1], ids[:, 1:]).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
        model.zero_grad()
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()
    assert not torch.equal(*gradients)
