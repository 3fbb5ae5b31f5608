"""A graphics processor that is none: tensors that claim to be on ``cuda:0``, computed on the CPU.

What a GPU refuses is refused: operations on tensors of both sides, and arrays of tensors that are there. What makes it
slow is counted: every reading of a value, which waits for all that was computed before. How fast a GPU is, and what it
computes differently, does not show here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

GPU, METAL, CPU = torch.device("cuda", 0), torch.device("mps", 0), torch.device("cpu")

#: Operations that read a value out of the device, by the name of their packet.
READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2", "is_nonzero"}

#: Operations that take positions from the CPU as well.
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class OnGpu(Tensor):
    """A tensor that claims to be on the GPU; ``inner`` holds its values."""

    inner: Tensor
    reads = 0
    #: Whether it is one of Apple's, which knows no float64.
    metal = False

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        if cls.metal and inner.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        made: OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CPU,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return METAL if self.metal else GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return not self.metal

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGpu({tuple(self.size())}, {self.dtype})"

    def cpu(self, *_: object, **__: object) -> Tensor:  # type: ignore[override]
        return Down.apply(self)  # type: ignore[no-any-return]

    def cuda(self, *_: object, **__: object) -> Tensor:  # type: ignore[override]
        return self

    def numpy(self, *_: object, **__: object) -> Any:  # type: ignore[override]
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_: object) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        OnGpu.reads += 1
        return self.inner.detach().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        given, shape = tree_flatten((args, kwargs or {}))
        here = [one for one in given if isinstance(one, Tensor) and not isinstance(one, OnGpu) and one.dim() > 0]
        if name in INDEXING and isinstance(args[0], OnGpu):  # which takes positions of the CPU, too
            here = [one for one in here if one.dtype.is_floating_point]
        if here:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({name})")
        if name in READS:
            OnGpu.reads += 1
        inner = [one.inner if isinstance(one, OnGpu) else one for one in given]
        own_args, own_kwargs = tree_unflatten(inner, shape)
        found = func(*own_args, **own_kwargs)
        if name.endswith("_"):  # in place: the same tensor
            return args[0]
        return tree_map(lambda one: OnGpu(one) if isinstance(one, Tensor) else one, found)


class Up(torch.autograd.Function):
    """From the CPU to the GPU; gradients go the other way."""

    @staticmethod
    def forward(_ctx: Any, given: Tensor) -> Tensor:  # type: ignore[override]
        return OnGpu(given.detach().clone())

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.inner if isinstance(gradient, OnGpu) else gradient


class Down(torch.autograd.Function):
    """From the GPU to the CPU."""

    @staticmethod
    def forward(_ctx: Any, given: Tensor) -> Tensor:  # type: ignore[override]
        OnGpu.reads += 1
        return given.inner.detach().clone()  # type: ignore[attr-defined]

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient if isinstance(gradient, OnGpu) else OnGpu(gradient)


class _Devices(TorchFunctionMode):
    """Makes and moves tensors where a call says so."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "to":
            return self._moved(func, args, kwargs)
        wanted = kwargs.get("device")
        if wanted is None:
            return func(*args, **kwargs)
        kwargs["device"] = CPU
        made = func(*[one.inner if isinstance(one, OnGpu) else one for one in args], **kwargs)
        return OnGpu(made) if torch.device(wanted).type in ("cuda", "mps") else made

    @staticmethod
    def _moved(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, rest = args[0], list(args[1:])
        wanted = kwargs.pop("device", None)
        if rest and isinstance(rest[0], Tensor):
            wanted, rest = rest[0].device, [rest[0].dtype, *rest[1:]]
        elif rest and isinstance(rest[0], torch.device | str):
            wanted = rest.pop(0)
        elif rest and rest[0] is None:
            rest.pop(0)
        kwargs.pop("non_blocking", None)
        rest = [one for one in rest if not isinstance(one, bool)]
        known = {key: value for key, value in kwargs.items() if value is not None}
        kept = func(tensor, *rest, **known) if rest or known else tensor
        if wanted is None or torch.device(wanted).type == kept.device.type:
            return kept  # type: ignore[no-any-return]
        return Up.apply(kept) if torch.device(wanted).type in ("cuda", "mps") else kept.cpu()  # type: ignore[no-any-return]


@contextmanager
def pretended_gpu(*, metal: bool = False) -> Iterator[Callable[[], int]]:
    """A GPU inside a ``with`` block; the yielded function returns how often a value was read out of it so far.

    ``metal``: one that refuses float64, as Apple's do.
    """
    OnGpu.metal = metal
    before, overwritten = OnGpu.reads, torch.__future__.get_overwrite_module_params_on_conversion()
    inference_mode = torch.inference_mode
    # Wrapped tensors have no versions that could be skipped.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else nullcontext()  # type: ignore[assignment, misc]
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else parameters are changed in place
    try:
        with _Devices():
            yield lambda: OnGpu.reads - before
    finally:
        OnGpu.metal = False
        torch.inference_mode = inference_mode  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(overwritten)
