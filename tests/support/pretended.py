"""A simulated GPU: tensors that claim to be on it, are computed on the CPU, and fail where a real GPU would.

It detects the usual bugs of code that only ever ran on a CPU: tensors of two devices in one operation,
and float64 on Apple's GPUs. It does not simulate kernels, memory or streams.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
MAY_MIX = (aten.copy_.default, aten.index.Tensor)  # copies between devices; indices may be on the CPU
NOT_EVEN_SCALARS = ("stack", "cat", "index_copy_", "index_copy")  # refuse CPU scalars, which other operations accept


class OnDevice(Tensor):
    """A tensor that claims to be on the simulated device; its values are those of `inner`."""

    inner: Tensor
    pretended: torch.device

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> "OnDevice":
        if device.type == "mps" and inner.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=inner.device
        )
        made.inner, made.pretended = inner.detach(), torch.device(device.type, device.index or 0)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.pretended

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.pretended}: {self.inner}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    on_device = [x for x in tensors if isinstance(x, OnDevice)]
    if not on_device:
        return func(*args, **kwargs)
    _refuse_mixture(func, tensors)
    values = func(*_inner(args), **_inner(kwargs))
    if func._schema.is_mutable:  # returns the tensor it changed
        return args[0] if func._schema.returns else None
    return tree_map_only(Tensor, lambda x: OnDevice(x, on_device[0].pretended), values)


def _inner(values: Any) -> Any:
    return tree_map_only(OnDevice, lambda x: x.inner, values)


def _refuse_mixture(func: Any, tensors: list[Tensor]) -> None:
    name = func._schema.name.removeprefix("aten::")
    on_cpu = [x for x in tensors if not isinstance(x, OnDevice)]
    if func not in MAY_MIX and any(x.ndim or name in NOT_EVEN_SCALARS for x in on_cpu):
        found = sorted({str(x.device) for x in tensors})
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} in {name}")


class _Devices(TorchFunctionMode):
    """Handles functions that take a device, which this build of torch may not support: creating and moving tensors."""

    def __init__(self, device: str):
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.cpu):
            return self._move(func, *args, **kwargs)
        device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if device is None or device.type in ("cpu", "meta"):
            return func(*args, **kwargs)
        assert device.type == self.device, f"{device} in {func}"
        with torch.no_grad():
            return OnDevice(func(*_inner(args), **kwargs | {"device": "cpu"}), device)

    def _move(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = kwargs.pop("copy", False)
        named = torch._C._nn._parse_to("cpu") if func is Tensor.cpu else torch._C._nn._parse_to(*args, **kwargs)
        device, dtype = named[0] or x.device, named[1] or x.dtype
        if device.type == x.device.type:
            return aten._to_copy(x, dtype=dtype) if copy or dtype != x.dtype else x
        assert not (x.requires_grad and torch.is_grad_enabled()), "gradients do not go from device to device here"
        moved = (x.inner if isinstance(x, OnDevice) else x).detach().to(dtype, copy=True)
        return moved if device.type == "cpu" else OnDevice(moved, device)


@contextlib.contextmanager
def pretended(device: str) -> Iterator[None]:
    """Simulate a device of this type within the block."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a Parameter cannot change its class in place
    try:
        with mock_backend(device), _Devices(device):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


@contextlib.contextmanager
def mock_backend(device: str) -> Iterator[None]:
    """Make torch report a GPU of this type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mps, "is_available", lambda: device == "mps")
        patch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
        patch.setattr(torch.cuda, "device_count", lambda: int(device == "cuda"))
        patch.setattr(torch.cuda, "get_device_name", lambda _=None: "pretended")
        patch.setattr(torch.cuda, "get_device_capability", lambda _=None: (8, 0))
        patch.setattr(torch.cuda, "mem_get_info", lambda _=None: (10**9, 10**9))
        patch.setattr(torch.cuda, "max_memory_allocated", lambda _=None: 10**6)
        yield
