"""What a classifier of clean images sees of a step: the denoised estimate, decoded, at the classifier's own size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preparation import Interpolation
from snellen.models.diffusion.step_view import StepView


def read_estimates(classifier: Classifier, view: StepView) -> Tensor:
    """What a classifier says of the estimates of a step: logits or log-probabilities (n, k), without gradients.

    The estimate is that of the batch's own condition; it is decoded once a step, whoever asks.
    """
    with torch.no_grad():
        images = view.decoded  # kept in the view, where another term may want gradients of what follows from it
    with torch.inference_mode():
        logits = classifier(as_prepared(classifier, images))
    return logits.clone()  # an ordinary tensor again


def check_guide(classifier: Classifier) -> None:
    """Refuse a classifier that does not say how sure it is of one class among several.

    Raises:
        UnsupportedError: another task than one class of several, or labels alone.
        InputError: a single class.
    """
    if classifier.task not in ("single", "ordinal"):
        raise UnsupportedError(
            f"guidance needs a classifier that tells one class of several; {classifier.name} is {classifier.task}"
        )
    if classifier.output == "labels":
        raise UnsupportedError(f"guidance needs a classifier that says how sure it is; {classifier.name} gives labels")
    if len(classifier.class_names) < 2:
        raise InputError(
            f"guidance away from another class needs at least two classes; {classifier.name} knows "
            f"{', '.join(classifier.class_names)}"
        )


def as_prepared(classifier: Classifier, images: Tensor, *, clamp: bool = True) -> Tensor:
    """Generated images as a classifier takes them: its resize and crop on tensors, differentiable.

    Filters that tensors do not have are those next to them: box and hamming are bilinear here, lanczos is bicubic.

    >>> from torch import nn
    >>> from snellen.core.preparation import Preparation
    >>> shrinks = Preparation(size=(4, 4), resize="shorter", resize_to=(6, 6))
    >>> classifier = Classifier(nn.Flatten(), class_names=["a"], preparation=shrinks)
    >>> as_prepared(classifier, torch.full((2, 1, 12, 12), 0.5)).shape
    torch.Size([2, 3, 4, 4])

    Args:
        classifier: whose preparation.
        images: (n, 1 or 3, h, w) in [0, 1].
        clamp: cut off what a resize overshoots; False for noisy images, which lie outside [0, 1] themselves.

    Returns:
        (n, 3, its height, its width) in [0, 1], on the classifier's device.
    """
    preparation = classifier.preparation
    height, width = images.shape[2:]
    seen = images.to(classifier.device).expand(-1, 3, -1, -1)
    placement = preparation.placement(width, height)
    size = round(height * placement.scale[1]), round(width * placement.scale[0])
    if size != (height, width):
        seen = _resized(seen, size, preparation.interpolation)
        seen = seen.clamp(0, 1) if clamp else seen
    if preparation.size is None or preparation.size == size:
        return seen
    left, top = (int(offset) for offset in placement.offset)
    sides = (-left, preparation.size[1] - size[1] + left, -top, preparation.size[0] - size[0] + top)
    fill = torch.tensor(preparation.fill, dtype=seen.dtype, device=seen.device).view(3, 1, 1) / 255
    return F.pad(seen - fill, sides) + fill if any(preparation.fill) else F.pad(seen, sides)


def _resized(images: Tensor, size: tuple[int, int], filtered: Interpolation) -> Tensor:
    """Images (n, c, h, w) of another height and width."""
    if filtered == "nearest":
        return F.interpolate(images, size=size, mode="nearest-exact")
    mode = "bicubic" if filtered in ("bicubic", "lanczos") else "bilinear"
    return F.interpolate(images, size=size, mode=mode, antialias=True, align_corners=False)
