"""The perceptual layer: an image is iterated through an autoencoder, from many augmented copies or from itself.

Kupeev and Nitzany (CONN), arXiv 2310.05212. Stochastic: J copies; in step i each is augmented with strength
α β^(−i) and replaced by what the autoencoder sees of it; the seen image is the mean of the J last ones. Vanilla is the
same with one copy and strength 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness, derive_seed
from snellen.systems.perception.annealed_augmentation import augment_copies
from snellen.systems.perception.orbits import Map, Orbit

#: Images in one pass through the autoencoder, where they have so many numbers; fewer where they have more.
CHUNK, _PIXELS = 2048, 28 * 28


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


def perceive(step: Map, images: Tensor, layer: PerceptualLayer, *, chunk: int | None = None) -> Tensor:
    """What is seen of images: (n, c, s, s) → (n, c, s, s), not cut to [0, 1].

    The draws of an image follow from its pixels and the layer's seed, so that neither its neighbours in a batch nor the
    chunk change them. Differentiable: with gradients, steps are computed once more on the way back.

    Args:
        step: the autoencoder.
        images: observed.
        layer: how to look.
        chunk: images in one pass, which sets memory; None: as many as fit where 2,048 of 28 × 28 do.

    Raises:
        UnsupportedError: a graph is written of a layer that draws.
    """
    if torch.compiler.is_exporting():
        return _as_graph(step, images, layer)
    if not len(images):
        return images
    together = chunk or _chunk(images)
    return torch.cat([_last(_walk(step, block, layer, together)) for block in _blocks(images, layer, together)])


@torch.no_grad()
def perception_orbit(step: Map, images: Tensor, layer: PerceptualLayer, *, chunk: int | None = None) -> Orbit:
    """The same with what was seen after every step, as the mean of the copies; its last state is what is seen."""
    together = chunk or _chunk(images)
    walks = [torch.stack([block, *_walk(step, block, layer, together)]) for block in _blocks(images, layer, together)]
    return Orbit(torch.cat(walks, 1))


def _chunk(images: Tensor) -> int:
    return max(min(CHUNK, CHUNK * _PIXELS // max(images[0].numel(), 1)), 1)


def _blocks(images: Tensor, layer: PerceptualLayer, chunk: int) -> tuple[Tensor, ...]:
    """Images whose copies are taken through the steps together."""
    return images.split(max(chunk // layer.copies, 1))


def _walk(step: Map, images: Tensor, layer: PerceptualLayer, chunk: int) -> Iterator[Tensor]:
    """The mean of each image's copies after every step."""
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
        yield copies.unflatten(0, (-1, layer.copies)).mean(1)


def _last(walk: Iterator[Tensor]) -> Tensor:
    *_, seen = walk
    return seen


def _as_graph(step: Map, images: Tensor, layer: PerceptualLayer) -> Tensor:
    """Without augmentation all copies are alike, and a graph of any number of images needs no blocks."""
    if layer.strength:
        raise UnsupportedError(
            "a stochastic perceptual layer draws by the pixels of each image, which no graph can; the vanilla one "
            "(copies=1, strength=0) can be written"
        )
    for _ in range(layer.steps):
        images = step(images)
    return images


def _content_seed(image: Tensor, seed: int) -> int:
    """A seed of the layer's and the image's own."""
    pixels = image.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    return derive_seed(seed, hashlib.sha256(pixels).hexdigest())
