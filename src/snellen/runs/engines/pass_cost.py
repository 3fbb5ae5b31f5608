"""What a pass of one image through a network costs: counted, not timed, and so the same at each call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


def pass_cost(classifier: Classifier) -> PassCost:
    """Count the operations of one pass of a black image, and what it would keep for gradients.

    The image does not count as a query. What runs outside torch, such as ONNX Runtime, counts as nothing; so does a
    network that cannot take the image, which the call itself will say.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> from snellen.core.preparation import Preparation
    >>> pass_cost(Classifier(model, class_names=["a", "b"], preparation=Preparation(size=(4, 4)))).operations
    192
    """
    from torch.utils.flop_counter import FlopCounterMode  # some milliseconds, for large calls only

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
            FlopCounterMode(display=False) as counter,
            torch.set_grad_enabled(classifier.differentiable),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            module(classifier.normalise(image))
    except Exception:  # whatever a network raises that is not meant for this image
        return PassCost()
    return PassCost(counter.get_total_flops(), sum(kept.values()))
