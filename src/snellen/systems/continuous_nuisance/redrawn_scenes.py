"""Scenes whose records are known, drawn again under a nuisance: everything but its strength is what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.worlds.optotypes.factors import Nuisance
from snellen.data.worlds.optotypes.rendering import LARGEST_SIZE, LEAST_SIZE, render
from snellen.data.worlds.optotypes.scene import Scene

#: Levels of 255 by which a picture may differ from what its record draws: as far as two builds differ.
TOLERANCE = 2

#: Pixels that are drawn together: what bounds the memory.
_PIXELS_AT_ONCE = 2**17

#: Why a picture with a record cannot be drawn again.
NOT_WHAT_IS_DRAWN = "its record draws another picture than this one"


@dataclass(frozen=True)
class Redrawn:
    """A scene and the side of its picture, pixels."""

    scene: Scene
    side: int


def has_scenes(images: ImageSet) -> bool:
    """Whether the column ``attributes`` of a set holds the record of any scene."""
    return any(_scene(text) is not None for text in images.column("attributes"))


def redrawable(images: ImageSet) -> list[Redrawn | str]:
    """The scene of each image, or why it cannot be drawn again.

    An image counts as that scene only where the record draws the very picture: something may have been done to it
    since, such as a planted trigger.
    """
    found: list[Redrawn | str] = []
    pictures: dict[int, NDArray[np.uint8]] = {}
    for row, text in enumerate(images.column("attributes")):
        scene = _scene(text)
        if scene is None:
            found.append("it has no record of a scene")
            continue
        try:
            picture = images.read(row)
        except RejectedImageError as error:
            found.append(str(error))
            continue
        if picture.width == picture.height and LEAST_SIZE <= picture.width <= LARGEST_SIZE:
            found.append(Redrawn(scene, picture.width))
            pictures[row] = np.asarray(picture.convert("RGB"))
        else:
            found.append(NOT_WHAT_IS_DRAWN)
    known = {row: one for row, one in enumerate(found) if isinstance(one, Redrawn)}
    for row, drawn in zip(known, _drawn(list(known.values())), strict=True):
        if np.abs(drawn.astype(np.int16) - pictures[row]).max() > TOLERANCE:
            found[row] = NOT_WHAT_IS_DRAWN
    return found


def worsened(scene: Scene, nuisance: Nuisance, strength: float) -> Scene:
    """The same scene with at least this strength of a nuisance.

    >>> worsened(Scene(), "fog", 2.0).nuisances.fog
    2.0
    """
    stronger = max(scene.nuisances.strength(nuisance), strength)
    return scene.model_copy(update={"nuisances": scene.nuisances.model_copy(update={nuisance: stronger})})


def prepared(scenes: Sequence[Redrawn], preparation: Preprocessing) -> Tensor:
    """Scenes as a model gets their pictures: float32 (n, 3, h, w) in [0, 1]."""
    return to_unit(torch.stack([preparation.pixels(Image.fromarray(drawn)) for drawn in _drawn(scenes)]))


def _drawn(scenes: Sequence[Redrawn]) -> list[NDArray[np.uint8]]:
    """Pictures (h, h, 3), those of one side drawn together."""
    found: dict[int, NDArray[np.uint8]] = {}
    for side in {one.side for one in scenes}:
        rows, chunk = [row for row, one in enumerate(scenes) if one.side == side], max(_PIXELS_AT_ONCE // side**2, 1)
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            pixels = render([scenes[row].scene for row in part], side).pixels.permute(0, 2, 3, 1).contiguous().numpy()
            found |= dict(zip(part, pixels, strict=True))
    return [found[row] for row in range(len(scenes))]


def _scene(text: object) -> Scene | None:
    # This recognises most records of other sets, and parsing is dear.
    if not isinstance(text, str) or '"objects"' not in text:
        return None
    try:
        return Scene.from_json(text)
    except InputError:
        return None
