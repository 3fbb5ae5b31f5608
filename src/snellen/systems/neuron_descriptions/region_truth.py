"""What regions of drawn scenes show, known without looking: a map for every value of every factor, and masks on it.

Stands in for the people who described units for MILANNOTATIONS: what they saw in the regions is here read from the
scenes' records.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from snellen.data.worlds.optotypes.lettering import GAP, HEIGHT, WIDTH
from snellen.data.worlds.optotypes.rendering import visible
from snellen.data.worlds.optotypes.scene import Scene
from snellen.systems.neuron_descriptions.exemplars import Exemplars

#: Kinds of attributes and their values. Those of objects lie on objects, grounds around them, and letters over both.
KINDS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "ground": BACKGROUNDS,
    "letters": ("letters",),
}

#: All values, in the order of the maps.
VALUES: tuple[str, ...] = tuple(value for values in KINDS.values() for value in values)

#: Kinds that objects have.
OF_OBJECTS = ("shape", "colour", "texture")

#: From this share of a region on it is one of letters, whose lines are thin; of objects; and from this share of the
#: objects (the ground) in it on, a value is stated of it.
LETTERS_FROM, OBJECTS_FROM, SAID_FROM = 0.4, 0.5, 0.6

#: Scenes that are drawn together.
_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class FactorMaps:
    """Where each value is seen in n scenes.

    Attributes:
        shares: of each pixel that shows it, uint8 (n, f, h, h), 255 is all of it; f values as in :data:`VALUES`.
    """

    shares: Tensor

    def of(self, value: str, rows: Tensor | slice = slice(None)) -> Tensor:
        """The map of one value, float32 (m, h, h) in [0, 1]."""
        return self.shares[rows, VALUES.index(value)].float() / 255

    def occurring(self) -> dict[str, tuple[str, ...]]:
        """The values of each kind that are seen anywhere."""
        seen = set(itertools.compress(VALUES, self.shares.flatten(2).amax((0, 2)).tolist()))
        return {kind: tuple(value for value in values if value in seen) for kind, values in KINDS.items()}

    @classmethod
    def of_scenes(cls, scenes: Sequence[Scene], size: int) -> FactorMaps:
        """Draw the maps of scenes at a size in pixels."""
        parts = [_maps(scenes[first : first + _TOGETHER], size) for first in range(0, len(scenes), _TOGETHER)]
        return cls(torch.cat(parts))


def _maps(scenes: Sequence[Scene], size: int) -> Tensor:
    letters = _lettered(scenes, size)
    seen = visible(scenes, size) * (1 - letters)[:, None]
    maps = torch.zeros(len(scenes), len(VALUES), size, size)
    for row, scene in enumerate(scenes):
        for number, one in enumerate(scene.objects):
            for value in (one.shape, one.colour, one.texture):
                maps[row, VALUES.index(value)] += seen[row, number]
        around = (1 - letters[row] - seen[row].sum(0)).clamp(min=0)
        maps[row, VALUES.index(scene.background)] = around
    maps[:, VALUES.index("letters")] = letters
    return maps.clamp_(0, 1).mul_(255).round_().byte()


def _lettered(scenes: Sequence[Scene], size: int) -> Tensor:
    """How much of each pixel lies in the box of a text, float32 (n, h, h)."""
    found = torch.zeros(len(scenes), size, size)
    for row, scene in enumerate(scenes):
        if scene.lettering is not None:
            one = scene.lettering
            half_width = one.height / HEIGHT * ((WIDTH + GAP) * len(one.text) - GAP) / 2
            across, down = _covered(one.x, half_width, size), _covered(one.y, one.height / 2, size)
            found[row] = down[:, None] * across[None, :]
    return found


def _covered(centre: float, half: float, size: int) -> Tensor:
    """How much of each pixel along an axis from −1 to 1 lies within a distance of a place, (size,)."""
    edges = torch.linspace(-1, 1, size + 1).clamp(centre - half, centre + half)
    return (edges[1:] - edges[:-1]) * (size / 2)


def region_shares(maps: FactorMaps, positions: Tensor, masks: Tensor) -> Tensor:
    """What regions show: the share of each value in each mask, float32 (k, f); NaN where a mask is empty.

    Args:
        maps: of all scenes.
        positions: of the scenes of the masks, int64 (k,).
        masks: (k, h, h), at the size of the maps.
    """
    weights = masks.float()
    total = weights.sum((1, 2))
    sums = torch.einsum("kfhw,khw->kf", maps.shares[positions].float() / 255, weights)
    return torch.where(total[:, None] > 0, sums / total[:, None], torch.full_like(sums, torch.nan))


def attributes_of_units(exemplars: Exemplars, maps: FactorMaps) -> list[frozenset[str]]:
    """What the regions of each unit of a layer have in common, see :func:`region_attributes`.

    Args:
        exemplars: found in the scenes of the maps, prepared at their size.
        maps: of all these scenes.
    """
    size = (maps.shares.shape[2], maps.shares.shape[3])
    return [
        region_attributes(region_shares(maps, exemplars.positions[unit].clamp(min=0), exemplars.masks(unit, size)))
        for unit in range(exemplars.units)
    ]


def region_attributes(shares: Tensor) -> frozenset[str]:
    """What the regions of one unit have in common, of :data:`VALUES`; "object" or "ground" where that is all.

    Every region counts the same. A region of letters is nothing else; on objects, a value is stated that most of their
    area has, and on grounds likewise.

    >>> shares = torch.zeros(2, len(VALUES))
    >>> shares[:, [VALUES.index("red"), VALUES.index("star")]] = 0.9
    >>> sorted(region_attributes(shares))
    ['red', 'star']

    Args:
        shares: as :func:`region_shares` gives them, (k, f); regions of NaN are left out.

    Returns:
        An empty set where no region is left.
    """
    known = shares[~shares[:, 0].isnan()]
    if not len(known):
        return frozenset()
    mean = dict(zip(VALUES, known.mean(0).tolist(), strict=True))
    objects = sum(mean[value] for value in KINDS["colour"])
    ground = sum(mean[value] for value in KINDS["ground"])
    if mean["letters"] >= LETTERS_FROM:
        return frozenset({"letters"})
    kinds, area, alone = (OF_OBJECTS, objects, "object") if objects >= OBJECTS_FROM else (("ground",), ground, "ground")
    said = {value for kind in kinds for value in KINDS[kind] if area > 0 and mean[value] / area >= SAID_FROM}
    return frozenset(said or {alone})
