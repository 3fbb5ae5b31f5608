"""An ordinary network of clean images as what may steer a generator: how it sees latents, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.generation.estimates import as_prepared, check_guide
from snellen.models.diffusion.generator import Generator


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
        """What it says of images (n, 3, h, w): scores (n, k) or maps (n, ...)."""
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
        UnsupportedError: a classifier without gradients, or that does not tell one class of several.
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

    Noise is not clipped away. Of a generator with an autoencoder the *noisy latents* are decoded. How the published
    method goes about latent generators is not told; this is our reconstruction.
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
