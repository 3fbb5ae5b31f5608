"""Two dyes on glass: how much light is left of white behind haematoxylin and eosin, and how laboratories differ.

Source: Ruifrok & Johnston, "Quantification of histochemical staining by color deconvolution" (2001): each dye absorbs
red, green and blue in fixed proportions, and absorptions add up (Beer and Lambert).
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.worlds.textures.lattice_hash import seed_values

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
