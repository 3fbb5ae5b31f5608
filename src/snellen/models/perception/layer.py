"""The perceptual layer: an image is iterated through an autoencoder, from many augmented copies or from itself.

Kupeev and Nitzany (CONN), arXiv 2310.05212. Stochastic: J copies; in step i each is augmented with strength
α β^(−i) and replaced by what the autoencoder sees of it; the seen image is the mean of the J last ones. Vanilla is the
same with one copy and strength 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snellen.errors import InputError
from snellen.models.perception.annealed_augmentation import augment_copies
from snellen.models.perception.orbits import Map, Orbit
from snellen.randomness import Randomness, derive_seed

#: Images in one pass through the autoencoder.
CHUNK = 2048

#: Called with the mean image of all copies after every step, (n, c, s, s).
_Watch = Callable[[Tensor], None]


@dataclass(frozen=True)
class PerceptualLayer:
    """How long and from how many copies one looks.

    Args:
        copies: J, 1,000 as published.
        steps: K, 30 as published; after 12, strengths are below 1e-4.
        strength: α, of the first step's augmentation; 0 for none.
        decay: β, by which strength falls with every step.
        seed: of all draws.
    """

    copies: int = 1000
    steps: int = 30
    strength: float = 1.0
    decay: float = 2.6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1 or self.steps < 1:
            raise InputError(f"a perceptual layer needs a copy and a step, got {self.copies} and {self.steps}")
        if not 0 <= self.strength <= 1 or not self.decay >= 1:
            raise InputError(
                f"a perceptual layer needs a strength in [0, 1] and a decay of at least 1, got {self.strength} and "
                f"{self.decay}"
            )


#: One copy, no augmentation.
VANILLA = PerceptualLayer(copies=1, strength=0.0)


def perceive(step: Map, images: Tensor, layer: PerceptualLayer, *, chunk: int = CHUNK) -> Tensor:
    """What is seen of images: (n, c, s, s) → (n, c, s, s), not cut to [0, 1].

    The draws of an image follow from its pixels and the layer's seed, so that neither its neighbours in a batch nor the
    chunk change them. Differentiable: with gradients, steps are computed once more on the way back.

    Args:
        step: the autoencoder.
        images: observed.
        layer: how to look.
        chunk: images in one pass; sets memory.
    """
    return _perceive(step, images, layer, chunk, None)


@torch.no_grad()
def perception_orbit(step: Map, images: Tensor, layer: PerceptualLayer, *, chunk: int = CHUNK) -> Orbit:
    """The same with what was seen after every step, as the mean of the copies; its last state is what is seen."""
    states: list[list[Tensor]] = [[image] for image in images]
    for row, image in enumerate(images):
        _perceive(step, image[None], layer, chunk, lambda mean, row=row: states[row].append(mean[0]))  # type: ignore[misc]
    return Orbit(torch.stack([torch.stack(own) for own in states], 1))


def _perceive(step: Map, images: Tensor, layer: PerceptualLayer, chunk: int, watch: _Watch | None) -> Tensor:
    together = max(chunk // layer.copies, 1)
    seen = [_block(step, block, layer, chunk, watch) for block in images.split(together)] if len(images) else [images]
    return torch.cat(seen)


def _block(step: Map, images: Tensor, layer: PerceptualLayer, chunk: int, watch: _Watch | None) -> Tensor:
    """Images whose copies are taken through the steps together."""
    seeds = [_content_seed(image, layer.seed) for image in images] if layer.strength else []

    def taken(copies: Tensor, number: int) -> Tensor:
        strength = layer.strength * layer.decay**-number
        augmented = (
            [
                augment_copies(own, strength, Randomness(seed).child(number).generator("augmentation"))
                for own, seed in zip(copies.split(layer.copies), seeds, strict=True)
            ]
            if layer.strength
            else [copies]
        )
        return torch.cat([step(part) for part in torch.cat(augmented).split(chunk)])

    copies = images.repeat_interleave(layer.copies, 0)
    for number in range(layer.steps):
        if torch.is_grad_enabled() and copies.requires_grad:
            copies = checkpoint(taken, copies, number, use_reentrant=False)
        else:
            copies = taken(copies, number)
        if watch is not None:
            watch(_mean(copies, layer.copies))
    return _mean(copies, layer.copies)


def _mean(copies: Tensor, count: int) -> Tensor:
    return copies.unflatten(0, (-1, count)).mean(1)


def _content_seed(image: Tensor, seed: int) -> int:
    """A seed of the layer's and the image's own."""
    pixels = image.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    return derive_seed(seed, hashlib.sha256(pixels).hexdigest())
