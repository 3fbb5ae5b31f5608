"""What may steer a generator: an ordinary network of clean images, its view of a step and its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Interpolation
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.step_view import StepView


def read_estimates(classifier: Classifier, view: StepView) -> Tensor:
    """A classifier's output for the estimates of a step: logits or log-probabilities (n, k), without gradients.

    The estimate is that of the batch's own condition; it is decoded once a step, for all callers.
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
            f"guidance needs a classifier that predicts one class of several; {classifier.name} is {classifier.task}"
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
    >>> from snellen.core.preprocessing import Preprocessing
    >>> shrinks = Preprocessing(size=(4, 4), resize="shorter", resize_to=(6, 6))
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


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network with what stands before it.

    Args:
        network: prepared images (n, 3, h, w) → scores (n, k), or maps (n, ...).
        prepare: images (n, 3, h, w), 0 to 1 where they are clean, as the network takes them; differentiable.
        name: shown in messages and cards.
        class_names: names of the scores; empty for a network that gives maps.
    """

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    name: str
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        """Its output for images (n, 3, h, w): scores (n, k) or maps (n, ...)."""
        found: Tensor = self.network(self.prepare(images))
        return found

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.network.parameters()).device

    def identity(self) -> str:
        """Hash of its weights (sha256)."""
        return hash_tensors(dict(self.network.state_dict()))


def classifier_teacher(classifier: Classifier) -> Teacher:
    """A classifier as a teacher, with its own preparation and normalisation.

    Raises:
        UnsupportedError: a classifier without gradients, or that does not predict one class of several.
    """
    check_guide(classifier)
    if classifier.module is None or not classifier.differentiable:
        raise UnsupportedError(
            f"guidance by gradients needs a torch module with gradients, and {classifier.name} has none"
        )
    return Teacher(
        classifier.module,
        lambda images: classifier.normalise(as_prepared(classifier, images, clamp=False)),
        classifier.name,
        classifier.class_names,
    )


def map_teacher(
    network: nn.Module, *, name: str, prepare: Callable[[Tensor], Tensor] = lambda images: images
) -> Teacher:
    """Any network that gives a map (depth, segmentation) as a teacher.

    Args:
        network: prepared images (n, 3, h, w) → maps (n, ...).
        name: shown in messages and cards.
        prepare: resize and normalisation of images in [0, 1].
    """
    return Teacher(network, prepare, name)


def pictures(generator: Generator, latents: Tensor) -> Tensor:
    """Latents, noisy ones too, as the images (n, 3, h, w) that a teacher is shown: 0 to 1 where they are clean.

    Noise is not clipped away. Of a generator with an autoencoder the *noisy latents* are decoded. The paper does not
    say how its method treats latent generators; this is our reconstruction.
    """
    images = generator.decode(latents, clamp=False)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def latents_of(generator: Generator, images: Tensor) -> Tensor:
    """Clean images (n, 3, h, w) in [0, 1] as latents, without gradients; grey generators take the first channel.

    Raises:
        InputError: images outside [0, 1], of images in [−1, 1] for instance, or of a size that does not fit.
    """
    low, high = (float(value) for value in torch.aminmax(images))
    if not (low >= 0 and high <= 1):  # so written that NaN fails too
        raise InputError(
            f"clean images lie in [0, 1]; got values from {low:.4g} to {high:.4g}. Images in [-1, 1] become "
            f"images / 2 + 0.5"
        )
    with torch.no_grad():
        return generator.encode(images[:, : generator.denoiser.channels] if generator.vae is None else images)
