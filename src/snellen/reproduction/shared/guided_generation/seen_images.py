"""Labelled images that may be trained on, of both worlds: for a weak denoiser, and for experts that are supervised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.small_world import SHAPES, SIZE, WORLD, scenes
from snellen.reproduction.shared.fashion_mnist import fashion_mnist

#: Images that are drawn together.
_TOGETHER = 512


@dataclass(frozen=True, eq=False)
class Seen:
    """Images of a training split.

    Args:
        images: float32 (n, 3, h, w) in [0, 1].
        classes: int64 (n,).
        prompts: of each, where the generator takes prompts.
    """

    images: Tensor
    classes: Tensor
    prompts: tuple[str, ...] | None = None


def seen_thumbnails(count: int, seed: int) -> Seen:
    """Training images of Fashion-MNIST, drawn without repetition.

    Raises:
        InputError: Fashion-MNIST is not installed.
    """
    every = fashion_mnist("train")
    images = every.select(np.sort(np.random.default_rng(seed).permutation(len(every))[:count]))
    pixels = torch.from_numpy(np.stack([np.asarray(images.read(row)) for row in range(len(images))]))
    return Seen(to_unit(pixels.permute(0, 3, 1, 2)), torch.from_numpy(images.labels.copy()).long())


def seen_scenes(count: int, seed: int) -> Seen:
    """Scenes of combinations that are not held out, with captions."""
    world = WORLD.model_copy(update={"nuisance_share": 0.0, "seed": derive_seed(seed, "seen") % 2**31})
    drawn = scenes(world, "train", count=count, seen=True)
    pixels = torch.cat([render(drawn[start : start + _TOGETHER], SIZE).pixels for start in range(0, count, _TOGETHER)])
    return Seen(
        to_unit(pixels),
        torch.tensor([SHAPES.index(scene.objects[0].shape) for scene in drawn]),
        tuple(caption(described(scene), seed=scene.seed, detail="natural") for scene in drawn),
    )
