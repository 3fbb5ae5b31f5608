"""A style generator of random weights, cut in the middle, and images that it did not make."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.models.latent_generators.style_network import StyleNetwork, StyleShape
from snellen.systems.natural_transformations.autoencoder import (
    Autoencoder,
    AutoencoderSettings,
    encoder_of,
    split_style,
)
from snellen.systems.natural_transformations.inversion import SplitGenerator

LATENT, SIDE, BLOCKS = 6, 16, 3
SHAPE = StyleShape(latent=LATENT, widths=(12, 8, 8), mapping_layers=0, bounded=True)


def style_generator(seed: int = 0) -> StyleNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = StyleNetwork(SHAPE)
        for block in network.blocks:  # first weights hardly depend on the code
            for part in (block.style1, block.style2, block.to_colours):
                torch.nn.init.normal_(part.weight, std=0.5)
    return network.eval().requires_grad_(False)


def split(seed: int = 0) -> SplitGenerator:
    return split_style(style_generator(seed), 1)


def autoencoder(seed: int = 0) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = encoder_of(SHAPE)
    return Autoencoder(style_generator(seed), encoder, {"held_out_psnr": 10.0}, "-", AutoencoderSettings(latent=LATENT))


def codes_of(count: int, seed: int = 1) -> Tensor:
    """Codes of the prior: (count, blocks, d)."""
    drawn = torch.randn(count, BLOCKS, LATENT, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=2) * LATENT**0.5


def pictures(count: int, seed: int = 2) -> Tensor:
    """Blurred noise, (count, 3, 16, 16) in [0, 1]."""
    drawn = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(drawn, size=(SIDE, SIDE), mode="bilinear")
