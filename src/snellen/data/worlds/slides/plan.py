"""A slide before any pixel of it: where tissue lies, which tiles carry tumour, and how it is stained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.data.worlds.slides.plane_noise import plane_noise
from snellen.data.worlds.slides.tissue import outline
from snellen.data.worlds.textures.torus import lattice_values, stream_state

#: Microns per pixel of level 0: what a lens of ten times shows.
MICRONS_PER_PIXEL = 1.0

#: Rows of tiles whose outline is computed together.
_CHUNK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Slide:
    """Everything that the pixels of a slide follow from; memory: 2 bytes for each tile.

    Args:
        id: such as "test/slide-0003".
        patient: such as "test/patient-0001".
        site: such as "site-2".
        label: 1 when some tile carries tumour, otherwise 0.
        seed: of everything drawn on the slide.
        tile_size: side of a tile, pixels of level 0.
        stains: float32 (3, 3), of :func:`snellen.data.worlds.slides.rendering.stains_of`.
        tissue: which tiles are tissue, bool (r, r).
        positive: which tiles carry tumour, bool (r, r).
    """

    id: str
    patient: str
    site: str
    label: int
    seed: int
    tile_size: int
    stains: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    @property
    def side(self) -> int:
        """Pixels of level 0 along each side."""
        return len(self.tissue) * self.tile_size


def tissue_tiles(seed: int, *, tiles_across: int, tile_size: int) -> NDArray[np.bool_]:
    """Tiles of which at least half are tissue, bool (r, r), judged at 16 places of each.

    A slide has at least one: the tile that is deepest in the tissue.
    """
    side = tiles_across * tile_size
    seeds = torch.tensor([seed])
    # Odd eighths of a tile, in half pixels; tiles are multiples of 16 pixels.
    places = (torch.arange(tiles_across)[:, None] * 2 + torch.tensor([0.25, 0.75, 1.25, 1.75])).flatten() * tile_size
    columns = places.to(torch.int64)[None, None]
    depth = np.concatenate(
        [
            outline(seeds, rows[None, :, None], columns, side=side)[0].numpy()
            for rows in places.to(torch.int64).split(4 * _CHUNK)
        ]
    )
    parts = depth.reshape(tiles_across, 4, tiles_across, 4)
    found: NDArray[np.bool_] = (parts > 0).sum((1, 3)) >= 8
    found.flat[int(parts.min((1, 3)).argmax())] = True
    return found


def positive_tiles(seed: int, tissue: NDArray[np.bool_], *, rate: float) -> NDArray[np.bool_]:
    """Tiles that carry tumour, bool (r, r): a share ``rate`` of the tissue to the nearest tile, and at least one.

    They gather in foci: the tiles where smooth noise with some noise of single tiles is highest.

    >>> tissue = np.ones((20, 20), dtype=bool)
    >>> int(positive_tiles(3, tissue, rate=0.1).sum())
    40
    """
    seeds = torch.tensor([seed])
    across = torch.arange(len(tissue))
    foci = plane_noise(seeds, "foci", 2 * across[None, :, None], 2 * across[None, None], (4, 4))[0]
    single = lattice_values(stream_state(seeds, "single tiles")[:, None], across[:, None], across[None])
    wanted = (foci + 0.6 * single).numpy().astype(np.float64)
    wanted[~tissue] = -1.0
    count = max(1, round(rate * int(tissue.sum())))
    chosen = np.zeros(tissue.size, dtype=bool)
    chosen[np.argsort(-wanted, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(tissue.shape)
