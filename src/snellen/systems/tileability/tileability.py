"""The metric: tile, resize, normalise, and one logit an image, differentiable with respect to its pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.tileability.network import TileabilityConfig, TileabilityNetwork

#: Smallest side of an image, pixels.
SMALLEST = 32

#: Copies along each side, and the scale that makes a score of a logit (the released λ).
TILES, SCALE = 2, 0.25

#: Mean and standard deviation of ImageNet, by channel.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tileability(nn.Module):
    """How well images repeat side by side: a score in (0, 1), or the logit that it is made of.

    The image is tiled inside, so that gradients reach every border. Pictures that are not square are squashed.

    Args:
        network: tiled pictures → logits (n,).
        side: of the tiled picture as the network sees it, pixels.
        tiles: copies along each side; 1 does not tile, which is a baseline that cannot see seams.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, side: int, tiles: int = TILES) -> None:
        super().__init__()
        if tiles < 1:
            raise InputError(f"an image is tiled once or more along each side; got {tiles}")
        self.network, self.side, self.tiles = network, side, tiles
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    @classmethod
    def of(cls, config: TileabilityConfig, tiles: int = TILES) -> Tileability:
        """A metric with new weights."""
        return cls(TileabilityNetwork(config), config.side, tiles)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (n,): positive where an image repeats without a seam. Take these for losses and rankings.

        Args:
            images: float32 (n, 3, h, w) in [0, 1], 32 pixels or more high and wide.

        Raises:
            InputError: another type, shape or range.
        """
        self._check(images)
        tiled = images.tile(1, 1, self.tiles, self.tiles)
        if tiled.shape[2:] != (self.side, self.side):
            tiled = functional.interpolate(
                tiled, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
            )
        found: Tensor = self.network((tiled - self.mean) / self.deviation)
        return found

    def forward(self, images: Tensor, scale: float = SCALE) -> Tensor:
        """Scores (n,) in (0, 1): 1 / (1 + exp(−λ z)). Scores of other λ are not comparable.

        Args:
            images: as above.
            scale: λ, in (0, 1].

        Raises:
            InputError: as above, or another λ.
        """
        if not 0 < scale <= 1:
            raise InputError(f"the scale of a score (lambda) lies in (0, 1]; got {scale}")
        return (scale * self.logits(images)).sigmoid()

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST:
            raise InputError(
                f"expected images (n, 3, h, w) of {SMALLEST} pixels or more, got {tuple(images.shape)}; enlarge "
                f"smaller ones first"
            )
        if images.dtype != torch.float32:
            raise InputError(f"expected float32 images in [0, 1], got {images.dtype}; divide bytes by 255")
        with torch.no_grad():
            low, high = images.aminmax()
        if not bool(low >= -1e-6) or not bool(high <= 1 + 1e-6):
            raise InputError(f"expected images in [0, 1], got values from {float(low):.4g} to {float(high):.4g}")


def load_tileability(reference: str) -> Tileability:
    """A metric by reference, in evaluation mode; its weights take no gradients.

    Args:
        reference: ``bundled:tileability``; ``textile:FILE`` for released weights (.pth or .safetensors); or
            ``folder:FOLDER`` with ``config.json`` and ``model.safetensors``.

    Raises:
        InputError: an unknown scheme, no such file, or weights of another network.
    """
    scheme, _, place = reference.partition(":")
    openers: dict[str, Callable[[str], Tileability]] = {
        "bundled": lambda name: _of_folder(bundled_folder(name)),
        "folder": lambda folder: _of_folder(Path(folder)),
        "textile": lambda file: _of_file(Path(file), TileabilityConfig()),
    }
    if scheme not in openers or not place:
        raise InputError(
            f"{reference!r} names no tileability metric; give bundled:tileability, textile:FILE (released weights) or "
            f"folder:FOLDER"
        )
    return openers[scheme](place).eval().requires_grad_(False)


def _of_folder(folder: Path) -> Tileability:
    path = folder / "config.json"
    try:
        config = TileabilityConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path} describes no tileability network: {error}") from error
    return _of_file(folder / "model.safetensors", config)


def _of_file(file: Path, config: TileabilityConfig) -> Tileability:
    tensors, _ = read_checkpoint(file)
    made = Tileability.of(config)
    load_strictly(made.network, {name: one.float() for name, one in tensors.items()}, source=str(file))
    return made
