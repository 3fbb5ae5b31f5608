"""A region of known size is found with its error, and masses are shares of draws of the prior."""

import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.generator_failure.region import grow, share_error

CENTRE = torch.nn.functional.normalize(torch.ones(64), dim=0) * 8


def cap(angle):
    """Fails within an angle of the centre."""
    return lambda z: torch.nn.functional.cosine_similarity(z, CENTRE[None]) >= math.cos(angle)


@pytest.mark.covers("7.8")
@pytest.mark.parametrize("angle", [0.3, 0.8, 1.2])
def test_the_extent_of_a_cap_is_its_angle(angle):
    region = grow(CENTRE, cap(angle), Randomness(0), directions=12, steps=30)
    assert region.extent == pytest.approx(angle, abs=math.pi / 2 / 30)
    assert region.size == pytest.approx(region.extent / (math.pi / 2))
    assert region.extent_error == pytest.approx(0.0, abs=1e-6)
    assert region.bounded == 12


@pytest.mark.covers("7.8")
def test_the_mass_is_a_share_of_the_prior_with_its_standard_error():
    half = lambda z: z[:, 0] > 0  # noqa: E731 - a half space
    start = torch.zeros(64)
    start[0] = 8.0
    region = grow(start, half, Randomness(0), directions=4, draws=2000)
    assert region.mass == pytest.approx(0.5, abs=4 * region.mass_error)
    assert region.mass_error == pytest.approx(math.sqrt(0.25 / 2000), rel=0.02)
    assert region.calls == 1 + 4 * 8 + 2000
    assert region.near <= region.mass


def test_an_irregular_region_has_an_error_over_directions():
    cone = lambda z: (z[:, 1] > 0) | (torch.nn.functional.cosine_similarity(z, CENTRE[None]) > 0.95)  # noqa: E731
    region = grow(CENTRE, cone, Randomness(0), directions=16)
    assert region.extent_error > 0
    assert share_error(0.0, 16) > 0


def test_a_latent_that_does_not_fail_has_no_region():
    with pytest.raises(InputError, match="does not fail"):
        grow(CENTRE, lambda z: torch.zeros(len(z), dtype=torch.bool), Randomness(0))
    with pytest.raises(InputError, match="needs 2 directions"):
        grow(CENTRE, cap(1.0), Randomness(0), directions=1)
