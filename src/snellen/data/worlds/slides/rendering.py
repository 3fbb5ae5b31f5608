"""Pictures of any part of any level of slides: a function of the slide and the place, of nothing beside it.

Source: Ruifrok & Johnston, "Quantification of histochemical staining by color deconvolution" (2001): each dye absorbs
red, green and blue in fixed proportions, and absorptions add up (Beer and Lambert).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.worlds.slides.nuclei import Tumour, nuclear_dye, tumour_at
from snellen.data.worlds.slides.plan import Region, Slide, Tissue, plane_noise, region_of, tissue_at
from snellen.data.worlds.textures.patterns import seed_values

#: Absorption of red, green and blue by haematoxylin (nuclei) and eosin (everything else).
HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)


def stains_of(site_seeds: Tensor, slide_seeds: Tensor) -> Tensor:
    """Absorption by the two dyes, and the light of the lamp: float32 (n, 3, 3), rows haematoxylin, eosin and lamp.

    A site has its own dyes, concentrations and lamp; a slide deviates from its site by a few percent. Neither knows
    anything of what lies on the slide.

    Args:
        site_seeds: int64 (n,).
        slide_seeds: int64 (n,).
    """
    dyes = torch.tensor([HAEMATOXYLIN, EOSIN])
    site, slide = seed_values(site_seeds, "stain of site", 12), seed_values(slide_seeds, "stain of slide", 12)
    proportions = 1 + 0.5 * (site[:, :6] - 0.5) + 0.08 * (slide[:, :6] - 0.5)
    strength = torch.tensor([0.85, 0.6]) + torch.tensor([0.5, 0.5]) * site[:, 6:8] + 0.12 * (slide[:, 6:8] - 0.5)
    # Eosin hardly absorbs red and blue: a share of little is little, so what differs there is added.
    added = torch.tensor([[0.0, 0.0, 0.0], [0.16, 0.0, 0.22]]) * site[:, 10:12, None]
    absorbing = (dyes * proportions.reshape(-1, 2, 3) + added) * strength[:, :, None]
    lamp = 0.955 + 0.035 * site[:, 8:9] + 0.01 * slide[:, 8:11]
    return torch.cat([absorbing, lamp[:, None]], 1).contiguous()


def stained(stains: Tensor, haematoxylin: Tensor, eosin: Tensor) -> Tensor:
    """Light behind the dyes, uint8 (n, h, w, 3).

    Args:
        stains: float32 (n, 3, 3), of :func:`stains_of`.
        haematoxylin: amount, float32 (n, h, w), at least 0.
        eosin: amount, float32 (n, h, w), at least 0.
    """
    channels = []
    for channel in range(3):
        first, second, lamp = stains[:, :, channel, None, None].unbind(1)
        light = lamp * _left(haematoxylin * first + eosin * second)
        channels.append((light * 255 + 0.5).clamp(0, 255).to(torch.uint8))
    return torch.stack(channels, -1)


def _left(absorption: Tensor) -> Tensor:
    """Share of light left, (1 + a/16)^−16: exp(−a) to 1.7 % of the lamp, and rounded alike everywhere."""
    value = 1 / (1 + absorption / 16)
    for _ in range(4):
        value = value * value
    return value


#: Changes whenever the pixels of a slide change.
VERSION = "slides 1"


@dataclass(frozen=True, kw_only=True)
class RenderedRegions:
    """Rectangles of slides.

    Args:
        pixels: uint8 (n, h, w, 3).
        masks: uint8 (n, h, w), 255 on nuclei of the tumour.
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]


def render_regions(
    slides: Sequence[Slide], *, level: int, tops: Sequence[int], lefts: Sequence[int], height: int, width: int
) -> RenderedRegions:
    """Render one rectangle of each slide; what one shows does not depend on the others, nor on its own borders.

    Beyond the borders of a slide there is bare glass. Memory: about 200 bytes for each requested pixel.

    Args:
        slides: n of them, of equal tiles.
        level: pixels of the level are 2^level pixels of level 0 apart.
        tops: upper row of each rectangle, pixels of the level.
        lefts: left column of each rectangle, pixels of the level.
        height: of the rectangles, pixels of the level.
        width: of the rectangles, pixels of the level.
    """
    tile, side = slides[0].tile_size, slides[0].side
    seeds = torch.tensor([slide.seed for slide in slides])
    stains = torch.from_numpy(np.stack([slide.stains for slide in slides]))
    region = region_of(seeds, level=level, tops=tops, lefts=lefts, height=height, width=width)
    tissue = tissue_at(seeds, region.rows, region.columns, side=side, pitch=region.pitch)
    positive, first_row, first_column = _positive_tiles(slides, region, tile)
    covered = torch.zeros((len(slides), height, width))
    tumour = Tumour(cells=covered, nuclei=covered, dye=covered)
    if bool(positive.any()):
        tumour = tumour_at(region, positive, first_row, first_column, tile=tile)
    haematoxylin, eosin = _dyes(region, tissue, tumour, side)
    masks = (tumour.nuclei >= 0.5).to(torch.uint8) * 255
    return RenderedRegions(pixels=stained(stains, haematoxylin, eosin).numpy(), masks=masks.numpy())


def _dyes(region: Region, tissue: Tissue, tumour: Tumour, side: int) -> tuple[Tensor, Tensor]:
    """Haematoxylin and eosin, float32 (n, h, w)."""
    fibres = _fibres(region)
    places = region.rows, region.columns, (150, 150)
    dense = _fading(plane_noise(region.seeds, "density", *places), region.pitch, 150)
    wall, hollow = tissue.epithelium, tissue.lumen
    eosin = (0.30 + 0.55 * fibres + 0.3 * (dense - 0.5)) * (1 - wall) + 0.42 * wall
    ground = 0.05 + 0.13 * wall + 0.12 * tissue.crowded * (1 - wall)
    solid = tissue.covered * (1 - hollow)
    nuclei = nuclear_dye(region, tissue, side=side)
    # Cells of the tumour hide what lies below; their own body is pale.
    haematoxylin = (ground * solid + nuclei) * (1 - tumour.cells) + 0.14 * tumour.cells + tumour.dye
    eosin = (eosin * solid * (1 - tumour.cells) + 0.5 * tumour.cells).clamp(min=0)
    return haematoxylin.clamp(min=0), eosin


def _fibres(region: Region) -> Tensor:
    """Wavy fibres that lie in one part and stand in another, float32 (n, h, w) in [0, 1]."""
    seeds, rows, columns, pitch = region.seeds, region.rows, region.columns, region.pitch
    which = plane_noise(seeds, "direction of fibres", rows, columns, (90, 90))
    # Whole half pixels, so that the bent place is as exact as the straight one.
    bent = ((plane_noise(seeds, "waves of fibres", rows, columns, (38, 38)) - 0.5) * 76).to(torch.int64)
    lying = _fading(plane_noise(seeds, "lying fibres", rows + bent, columns, (4, 30)), pitch, 4)
    standing = _fading(plane_noise(seeds, "standing fibres", rows, columns + bent, (30, 4)), pitch, 4)
    return lying + (standing - lying) * ((which - 0.5) * 4 + 0.5).clamp(0, 1)


def _fading(noise: Tensor, pitch: int, spacing: int) -> Tensor:
    """Noise that is left as far as a pixel is smaller than its cells; its mean where pixels are larger."""
    return 0.5 + (noise - 0.5) * min(max(spacing / pitch - 1, 0.0), 1.0)


def _positive_tiles(slides: Sequence[Slide], region: Region, tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of the tiles that regions touch are positive, bool (n, r, c), and the first row and column of them."""
    rows = torch.div(region.rows.squeeze(2), 2 * tile, rounding_mode="floor")
    columns = torch.div(region.columns.squeeze(1), 2 * tile, rounding_mode="floor")
    first_row, first_column = rows[:, 0], columns[:, 0]
    down, across = int((rows[:, -1] - first_row).max()) + 1, int((columns[:, -1] - first_column).max()) + 1
    found = np.zeros((len(slides), down, across), dtype=bool)
    for index, slide in enumerate(slides):
        top, left = int(first_row[index]), int(first_column[index])
        part = slide.positive[max(top, 0) : max(top + down, 0), max(left, 0) : max(left + across, 0)]
        above, before = min(max(-top, 0), down), min(max(-left, 0), across)
        found[index, above : above + part.shape[0], before : before + part.shape[1]] = part
    return torch.from_numpy(found), first_row, first_column
