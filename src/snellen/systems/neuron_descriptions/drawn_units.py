"""Units that never were in a network: activations that follow a known concept, coarse and noisy as those of real ones.

A describer is trained on them. They go through the same choice of exemplars and thresholds as units of networks, and
what their regions show is read from the scene afterwards: a caption is true of what is seen, not of what was meant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.progress import Progress, Silent
from snellen.systems.neuron_descriptions.exemplars import Exemplars, RunningExemplars
from snellen.systems.neuron_descriptions.region_truth import KINDS, OF_OBJECTS, FactorMaps

#: What progress calls it.
TASK = "drawing units"

#: Side of the maps of units, for scenes of 32 pixels and more.
_GRIDS = (16, 8, 8, 4)

#: What a unit follows, and how often: values of so many kinds of one object, letters, a ground, any object or ground.
_FOLLOWED: Mapping[str, float] = {
    "one": 0.32, "two": 0.3, "three": 0.08, "letters": 0.08, "ground": 0.14, "any object": 0.04, "any ground": 0.04
}  # fmt: skip

#: Units of one grid, and scenes, that are drawn together: what bounds the memory.
_UNITS, _SCENES = 64, 256


def drawn_units(
    maps: FactorMaps, count: int, *, exemplars: int, share: float, seed: int, progress: Progress | None = None
) -> list[Exemplars]:
    """Draw units, and find their exemplars among scenes.

    Args:
        maps: of n scenes.
        count: units.
        exemplars: images for each unit, k.
        share: of places below the threshold.
        seed: of everything.
        progress: callback that receives progress updates.

    Returns:
        Parts of up to 64 units each, whose maps are of one size.
    """
    rng, listener = np.random.default_rng(seed), progress or Silent()
    found, kinds = [], maps.occurring()
    listener.begin(TASK, count)
    for first in range(0, count, _UNITS):
        grid = _GRIDS[(first // _UNITS) % len(_GRIDS)]
        units = [_Unit(rng, kinds) for _ in range(min(_UNITS, count - first))]
        running = RunningExemplars(len(units), exemplars)
        for start in range(0, len(maps.shares), _SCENES):
            rows = slice(start, start + _SCENES)
            places = torch.arange(len(maps.shares))[rows]
            running.add(torch.stack([unit.activations(maps, rows, grid, start) for unit in units], 1), places)
        side = maps.shares.shape[-1]
        found.append(running.result("drawn", share, (side, side)))
        listener.advance(TASK, len(units))
    listener.finish(TASK)
    return found


class _Unit:
    """What one unit follows, what disturbs it, and how much."""

    def __init__(self, rng: np.random.Generator, kinds: Mapping[str, tuple[str, ...]]) -> None:
        weights = np.array([share if kinds["letters"] or name != "letters" else 0 for name, share in _FOLLOWED.items()])
        self.values = _values(str(rng.choice(list(_FOLLOWED), p=weights / weights.sum())), rng, kinds)
        self.other = _values("one", rng, kinds)
        self.disturbed, self.noise = rng.uniform(0, 0.5), rng.uniform(0, 0.15)
        self.seed = int(rng.integers(2**31))

    def activations(self, maps: FactorMaps, rows: slice, grid: int, start: int) -> Tensor:
        """Activations (n, grid, grid), at least 0."""
        wanted = _product(maps, self.values, rows) + self.disturbed * _product(maps, self.other, rows)
        coarse = F.adaptive_avg_pool2d(wanted[:, None], grid)[:, 0]
        generator = torch.Generator().manual_seed(self.seed + start)
        return (coarse + self.noise * torch.randn(coarse.shape, generator=generator)).clamp(min=0)


def _values(kind: str, rng: np.random.Generator, kinds: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Sets of values: a place counts as far as it has one of each set."""
    if kind == "letters":
        return [("letters",)]
    if kind == "ground":
        return [(str(rng.choice(kinds["ground"])),)]
    if kind == "any object":
        return [KINDS["colour"]]
    if kind == "any ground":
        return [KINDS["ground"]]
    chosen = rng.permutation(len(OF_OBJECTS))[: {"one": 1, "two": 2, "three": 3}[kind]]
    return [(str(rng.choice(kinds[OF_OBJECTS[number]])),) for number in sorted(chosen)]


def _product(maps: FactorMaps, values: list[tuple[str, ...]], rows: slice) -> Tensor:
    found: Tensor | None = None
    for alternatives in values:
        one = torch.stack([maps.of(value, rows) for value in alternatives]).sum(0).clamp(max=1)
        # Of one object, all values cover the same pixels: the lesser of two shares is that of both.
        found = one if found is None else torch.minimum(found, one)
    assert found is not None
    return found
