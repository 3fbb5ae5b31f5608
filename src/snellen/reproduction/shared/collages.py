"""Canvases with several objects, with known classes of any crop: what ReLabel is measured on.

The largest object gives the one official label. Which class is seen in which pixel is known, so that the label noise of
a random crop can be measured instead of guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.optotypes.factors import Colour
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.label_maps.sparse import whole_boxes

#: Colours of the objects of a scene, of any shape: the classes.
COLOURS: tuple[Colour, ...] = ("red", "yellow", "green", "cyan", "blue", "purple")

#: Scenes that are drawn together.
_AT_ONCE = 64

#: A class counts as visible in a crop from this share of the crop's area on.
VISIBLE = 0.01


@dataclass(frozen=True, eq=False)
class Collages:
    """Canvases with the truth about them.

    Attributes:
        pixels: uint8 (n, s, s, 3).
        labels: class of the largest object, int64 (n,).
        seen: how much of each pixel shows each class, float16 (n, k, s, s) in [0, 1].
        class_names: k of them.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    seen: Tensor
    class_names: tuple[str, ...]

    def images(self, name: str, split: Split) -> ImageSet:
        """As an image set of one split."""
        made = load_arrays(self.pixels, self.labels, class_names=self.class_names, name=name)
        return replace(made, split=split)

    def sets(self) -> Tensor:
        """Which classes each canvas shows: bool (n, k)."""
        return self.shown(torch.arange(len(self.labels)), whole_boxes(len(self.labels)))[1]

    def shown(self, positions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """What crops show.

        Args:
            positions: canvases, int64 (m,).
            boxes: (m, 4): left, top, right, bottom as shares.

        Returns:
            Share of each class in the area that shows any class, float32 (m, k), zeros where none is seen; and whether
            each class takes at least :data:`VISIBLE` of the crop, bool (m, k).
        """
        side = self.seen.shape[-1]
        left, top, right, bottom = (boxes * side).unbind(1)
        rows, columns = _covered(top, bottom, side), _covered(left, right, side)
        areas = torch.einsum("nkhw,nh,nw->nk", self.seen[positions].float(), rows, columns)
        whole = (rows.sum(1) * columns.sum(1)).clamp(min=1e-9)
        return areas / areas.sum(1, keepdim=True).clamp(min=1e-9), areas / whole[:, None] >= VISIBLE


def _covered(low: Tensor, high: Tensor, side: int) -> Tensor:
    """How much of each pixel along an axis lies between two places: (m, side)."""
    pixel = torch.arange(side)
    return (torch.minimum(high[:, None], pixel + 1.0) - torch.maximum(low[:, None], pixel + 0.0)).clamp(0, 1)


def scene_collages(count: int, *, side: int, objects: int, seed: int, split: Split) -> Collages:
    """Optotype scenes with several objects, called by their colours.

    Args:
        count: canvases n.
        side: pixels.
        objects: in each canvas.
        seed: of everything.
        split: individuals and scenes of two splits are different ones.
    """
    # Enough that so many have an object that is clearly the largest.
    world = Scenes(
        count=count if objects == 1 else 5 * count + 50,
        size=side,
        objects=(objects, objects),
        sizes=("tiny", "small"),
        colours=COLOURS,
        captions=False,
        seed=seed,
    )
    pixels, seen, labels = [], [], []
    drawn = [scene for scene in world.scenes(split) if _clear(scene)][:count]
    for start in range(0, count, _AT_ONCE):
        part = drawn[start : start + _AT_ONCE]
        pixels.append(render(part, side).pixels.permute(0, 2, 3, 1).contiguous().numpy())
        layers = visible(part, side)
        for scene, masks in zip(part, layers, strict=True):
            classes = [COLOURS.index(one.colour) for one in scene.objects]
            labels.append(classes[int(np.argmax([one.radius for one in scene.objects]))])
            mine = torch.zeros(len(COLOURS), side, side)
            mine.index_add_(0, torch.tensor(classes), masks[: len(classes)])
            seen.append(mine.clamp(0, 1).half())
    return Collages(np.concatenate(pixels), np.array(labels), torch.stack(seen), COLOURS)


def _clear(scene: Scene) -> bool:
    """Whether one object is clearly larger than the others."""
    largest, *others = sorted((one.radius for one in scene.objects), reverse=True)
    return not others or largest >= 1.3 * others[0]


def thumbnail_collages(
    thumbnails: NDArray[np.uint8],
    classes: NDArray[np.int64],
    class_names: tuple[str, ...],
    count: int,
    *,
    side: int,
    objects: int,
    seed: int,
) -> Collages:
    """Thumbnails on black, scaled at random and laid at random places of a grey, grained canvas.

    A thumbnail covers what is brighter than black. Later ones lie over earlier ones, which seldom happens.

    Args:
        thumbnails: uint8 (m, h, w), objects on black.
        classes: of the thumbnails, int64 (m,).
        class_names: k of them.
        count: canvases n.
        side: pixels.
        objects: in each canvas, 1 to 3.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    pixels = np.zeros((count, side, side, 3), dtype=np.uint8)
    seen = torch.zeros(count, len(class_names), side, side, dtype=torch.float16)
    labels = np.zeros(count, dtype=np.int64)
    for row in range(count):
        canvas = torch.from_numpy(rng.normal(rng.uniform(0.15, 0.4), 0.04, (side, side)).astype(np.float32))
        owners = torch.zeros(len(class_names), side, side)
        scales = rng.uniform(0.3, 0.42, objects)
        scales[0] = rng.uniform(0.3 if objects == 1 else 0.48, 0.6)
        scales = rng.permutation(scales)
        for place, scale in zip(_centres(rng, objects), scales, strict=True):
            chosen = int(rng.integers(len(thumbnails)))
            edge = max(4, round(scale * side))
            top, left = (round(float(middle * (side - edge))) for middle in place)
            thumbnail = torch.from_numpy(thumbnails[chosen].astype(np.float32) / 255)[None, None]
            small = F.interpolate(thumbnail, (edge, edge), mode="bilinear", antialias=True)[0, 0]
            alpha = (small * 6).clamp(0, 1)
            window = (slice(top, top + edge), slice(left, left + edge))
            canvas[window] = canvas[window] * (1 - alpha) + small * alpha
            owners[:, window[0], window[1]] *= 1 - alpha
            owners[int(classes[chosen])][window] += alpha
            if scale == scales.max():
                labels[row] = classes[chosen]
        pixels[row] = (canvas.clamp(0, 1) * 255).round().byte().numpy()[:, :, None]
        seen[row] = owners.half()
    return Collages(pixels, labels, seen, class_names)


def _centres(rng: np.random.Generator, objects: int) -> NDArray[np.float64]:
    """Places in the unit square, each far from the others: where, of what is left beside a thumbnail, it begins."""
    while True:
        places = rng.uniform(0, 1, (objects, 2))
        apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 2 * np.eye(objects)
        if apart.min() >= 0.65:
            return places
