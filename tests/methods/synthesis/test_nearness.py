"""Nearness to the nearest real image: its unit, mirror images, and what has none."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.methods.synthesis.nearness import COPY, distances, nearness, spread_of, thumbnails


def test_nearness_is_in_units_of_the_distance_among_shots():
    images = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    small = thumbnails(images)
    own = torch.stack([((a - b) ** 2).mean().sqrt() for a in small for b in small]).view(6, 6)
    mirrored = torch.stack([((a.flip(2) - b) ** 2).mean().sqrt() for a in small for b in small]).view(6, 6)
    torch.testing.assert_close(distances(small, small), torch.minimum(own, mirrored))
    spread = spread_of(small)
    assert float(nearness(images[:1].flip(3), small, spread)) < 1e-5
    fresh = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    assert (nearness(fresh, small, spread) > COPY).all()
    blend = 0.8 * images[:1] + 0.2 * fresh[:1]
    assert float(nearness(blend, small, spread)) < COPY
    with pytest.raises(InputError, match="two of them"):
        spread_of(small[:1])
    with pytest.raises(InputError, match="exact copies"):
        spread_of(small[:1].expand(4, -1, -1, -1))
