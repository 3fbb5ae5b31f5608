"""Changes of a texture that keep whether it repeats, and changes that end it; of batches, by seed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.randomness import Randomness

Damage = Literal["crop", "rotation", "shear", "ramp", "blob", "patch"]
DAMAGES: tuple[Damage, ...] = get_args(Damage)


def preserving(images: Tensor, rng: Randomness, *, roll: bool = True) -> Tensor:
    """Flip, turn by 90 degrees, roll around the border, change colours, add noise: it repeats, or not, as before.

    Colours change before the image is tiled, and alike everywhere. The same draws change two batches alike.

    Args:
        images: (n, 3, h, w) in [0, 1]; turned only where square.
        rng: of the batch.
        roll: not for textures with a seam, which it would move into the middle of the image.
    """
    count = len(images)

    def drawn(name: str, width: int = 1) -> Tensor:
        return rng.uniform(name, (width,), like=images)

    changed = images
    if roll:
        changed = rolled(images, drawn("roll", 2))
    flips = drawn("flips", 3) < 0.5
    for place, dim in ((0, 2), (1, 3)):
        changed = torch.where(flips[:, place, None, None, None], changed.flip(dim), changed)
    if images.shape[2] == images.shape[3]:
        changed = torch.where(flips[:, 2, None, None, None], changed.transpose(2, 3), changed)
    gains = 0.7 + 0.6 * drawn("gains", 3).reshape(count, 3, 1, 1)
    offsets = 0.2 * (drawn("offsets", 3).reshape(count, 3, 1, 1) - 0.5)
    noise = 0.04 * drawn("strength").reshape(count, 1, 1, 1) * rng.normal("noise", images.shape[1:], like=images)
    return (changed * gains + offsets + noise).clamp(0, 1)


def rolled(images: Tensor, shares: Tensor) -> Tensor:
    """Images moved around their border, each by its own shares (n, 2) of height and width in [0, 1)."""
    height, width = images.shape[2:]
    down = (torch.arange(height, device=images.device) + (shares[:, :1] * height).long()) % height
    across = (torch.arange(width, device=images.device) + (shares[:, 1:] * width).long()) % width
    rows = down[:, None, :, None].expand(-1, images.shape[1], -1, width)
    return images.gather(2, rows).gather(3, across[:, None, None, :].expand(-1, images.shape[1], height, -1))


def broken(images: Tensor, rng: Randomness, damages: tuple[Damage, ...] = DAMAGES) -> Tensor:
    """Textures (n, 3, h, w) that repeat, each with a damage of its own, see :func:`damaged`."""
    kinds = (rng.uniform("damage", (1,), like=images)[:, 0] * len(damages)).long()
    amounts = rng.uniform("amounts", (5,), like=images)
    made = images.clone()
    for place, damage in enumerate(damages):
        rows = (kinds == place).nonzero().flatten()
        if len(rows):
            made[rows] = damaged(images[rows], damage, amounts[rows])
    return made


def damaged(images: Tensor, damage: Damage, amounts: Tensor) -> Tensor:
    """Textures that no longer repeat.

    Args:
        images: tileable (n, 3, h, w) in [0, 1].
        damage: crop to 60 to 90 %, rotation by 4 to 20 degrees or shear by 0.1 to 0.3 of the endless texture; a ramp of
            light; a bright spot; a patch of one place over another.
        amounts: (n, 5) in [0, 1): how much, and where.
    """
    first, second = 2 * amounts[:, 0] - 1, 2 * amounts[:, 1] - 1
    signs = torch.stack([first, second]).sign()
    maps = torch.eye(2, device=images.device).repeat(len(images), 1, 1)
    if damage == "crop":
        maps = maps * (0.6 + 0.3 * amounts[:, 2])[:, None, None]
    elif damage == "rotation":
        angle = signs[0] * (0.07 + 0.28 * amounts[:, 2])
        maps = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
    elif damage == "shear":
        maps[:, 0, 1], maps[:, 1, 0] = signs[0] * (0.1 + 0.2 * amounts[:, 2]), signs[1] * (0.1 + 0.2 * amounts[:, 3])
    else:
        return _lit(images, damage, amounts, signs)
    return _window(images, maps)


def _window(images: Tensor, maps: Tensor) -> Tensor:
    """What the unit square shows of the endless texture under linear maps (n, 2, 2) about its middle."""
    endless = images.tile(1, 1, 3, 3)
    affine = torch.cat([maps / 3, torch.zeros_like(maps[:, :, :1])], 2)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(endless, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _lit(images: Tensor, damage: Damage, amounts: Tensor, signs: Tensor) -> Tensor:
    height, width = images.shape[2:]
    down = (torch.arange(height, device=images.device) + 0.5) / height
    across = (torch.arange(width, device=images.device) + 0.5) / width
    strength = amounts[:, 2, None, None, None]
    if damage == "ramp":
        slope = signs[0][:, None, None] * (down - 0.5)[None, :, None]
        slope = slope + signs[1][:, None, None] * (across - 0.5)[None, None, :]
        return (images * (1 + (0.2 + 0.4 * strength) * slope[:, None])).clamp(0, 1)
    if damage == "blob":
        places = 0.3 + 0.4 * amounts[:, 3:5]
        away = (down[None, :, None] - places[:, 0, None, None]) ** 2 + (across - places[:, 1, None])[:, None] ** 2
        light = (1 - away / (0.15 + 0.1 * amounts[:, 2, None, None]) ** 2).clamp(min=0)[:, None]
        return images + (1 - images) * 0.8 * light
    # A patch from elsewhere: its border is a seam inside the picture.
    moved = rolled(images, 0.25 + 0.5 * amounts[:, 3:5])
    turned = moved.flip(2)
    inside = ((down - 0.5).abs() < 0.22)[:, None] & ((across - 0.5).abs() < 0.22)[None]
    return torch.where(inside, turned, images)
