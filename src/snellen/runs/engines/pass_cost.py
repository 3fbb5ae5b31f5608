"""What a pass of one image through a network costs: counted, not timed, and so the same at each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from snellen.core.classifier import Classifier

#: Seconds of one core for a pass of one image beside its arithmetic, and floating-point operations of one core in a
#: second: what fits measured passes of bundled:fashion-cnn, ResNet-18, ResNet-50 and ViT-Ti on one thread within a
#: factor of two (docs/benchmarks.md). Depthwise convolutions take up to three times as long.
PASS_SECONDS, OPERATIONS_A_SECOND = 0.0001, 5e10


@dataclass(frozen=True)
class PassCost:
    """What one image costs.

    Attributes:
        operations: floating-point, forward; 0 where nobody knows.
        kept: bytes that a backward pass needs until it is done.
    """

    operations: int = 0
    kept: int = 0

    @property
    def seconds(self) -> float:
        """Estimate of a pass on one core."""
        return PASS_SECONDS + self.operations / OPERATIONS_A_SECOND


class _Operations(TorchFunctionMode):
    """Counts the arithmetic of convolutions and products of matrices; that of torch itself imports its compiler."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - the function's own result
        given = kwargs or {}
        out = func(*args, **given)
        operands = [one for one in (*args, *given.values()) if isinstance(one, Tensor)]
        first = out[0] if isinstance(out, tuple) else out
        if isinstance(first, Tensor) and len(operands) > 1:
            self.total += _operations(getattr(func, "__name__", ""), operands, first)
        return out


def _operations(name: str, operands: Sequence[Tensor], out: Tensor) -> int:
    """A multiplication and an addition for each weight of each output."""
    first, second = operands[:2]
    if name.startswith("conv"):
        return 2 * out.numel() * second[0].numel()
    if name == "linear":
        return 2 * out.numel() * second.shape[-1]
    if name in ("matmul", "__matmul__", "mm", "bmm"):
        return 2 * out.numel() * first.shape[-1]
    if name == "scaled_dot_product_attention":
        return 4 * first.numel() * second.shape[-2]
    if name == "multi_head_attention_forward":  # as one call: (length, n, width), four maps and the attention
        return first.numel() * (8 * first.shape[-1] + 4 * second.shape[0])
    return 0


def pass_cost(classifier: Classifier) -> PassCost:
    """Count the operations of one pass of a black image, and what it would keep for gradients.

    The image does not count as a query. What runs outside torch, such as ONNX Runtime, counts as nothing; so does a
    network that cannot take the image, which the call itself will say.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> from snellen.core.preprocessing import Preprocessing
    >>> pass_cost(Classifier(model, class_names=["a", "b"], preparation=Preprocessing(size=(4, 4)))).operations
    192
    """
    module, size = classifier.module, classifier.preparation.size
    if module is None or size is None:
        return PassCost()
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept = dict[int, int]()

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = torch.zeros(1, 3, *size, device=classifier.device, requires_grad=classifier.differentiable)
    try:
        with (
            _Operations() as counted,
            torch.set_grad_enabled(classifier.differentiable),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            module(classifier.normalise(image))
    except Exception:  # networks raise many kinds of errors on other images
        return PassCost()
    return PassCost(counted.total, sum(kept.values()))
