"""From exemplars to what a describer reads: one vector for each region of each unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.exemplars import Exemplars
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder

#: Positions of images → prepared images, float32 (n, 3, h, w) in [0, 1].
Read = Callable[[Sequence[int]], Tensor]

#: Images, and regions, that are encoded together.
_IMAGES, _REGIONS = 32, 128


def reader(images: ImageSet, preparation: Preprocessing) -> Read:
    """Read images of a set again, as the classifier saw them."""
    return lambda rows: to_unit(torch.stack([preparation.pixels(images.read(row)) for row in rows]))


def unit_regions(exemplars: Exemplars, encoder: RegionEncoder, read: Read) -> Regions:
    """Encode the regions of all units of a layer; every image is read and encoded once.

    A region without a place above the threshold is left out, as if the image were not there.

    Returns:
        Vectors (u, k, d), and which there are; none of a unit that is never active.
    """
    found: Tensor | None = None
    present = torch.zeros_like(exemplars.positions, dtype=torch.bool)
    used = (exemplars.positions >= 0) & exemplars.active[:, None]
    rows = exemplars.positions[used].unique().tolist()
    for first in range(0, len(rows), _IMAGES):
        chunk = torch.tensor(rows[first : first + _IMAGES])
        maps = encoder.maps(read(chunk.tolist()))
        if found is None:
            found = torch.zeros(*exemplars.positions.shape, sum(level.shape[1] for level in maps))
        pairs = (torch.isin(exemplars.positions, chunk) & used).nonzero()
        for part in pairs.split(_REGIONS):
            units, places = part.unbind(1)
            masks = exemplars.region_masks(units, places)
            own = torch.searchsorted(chunk, exemplars.positions[units, places])
            vectors = encoder.pooled([level[own.to(level.device)] for level in maps], masks)
            seen = masks.flatten(1).any(1)
            found[units, places] = torch.where(seen[:, None], vectors, torch.zeros_like(vectors))
            present[units, places] = seen
    if found is None:
        found = torch.zeros(*exemplars.positions.shape, 1)
    return Regions(found, present)
