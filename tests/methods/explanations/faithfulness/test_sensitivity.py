"""Max-sensitivity: closed forms of maps that are functions of the image."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.faithfulness.infidelity import max_sensitivity, moved_change, relative_change
from snellen.methods.explanations.maps import moved

IMAGES = 0.3 + 0.4 * torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_map_that_does_not_look_is_perfectly_steady():
    fixed = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert max_sensitivity(lambda images: fixed, IMAGES, rng=Randomness(0)).tolist() == [0, 0, 0]


def test_the_largest_relative_change_within_the_radius():
    seen = []

    def itself(images):
        seen.append(images)
        return images

    found = max_sensitivity(itself, IMAGES, rng=Randomness(0), radius=0.1, samples=5)
    assert len(seen) == 6
    changes = torch.stack([(other - IMAGES).flatten(1).norm(dim=1) / IMAGES.flatten(1).norm(dim=1) for other in seen])
    assert torch.allclose(found.float(), changes.max(0).values, atol=1e-6)
    assert bool((changes[1:] > 0).all())
    assert max((other - IMAGES).abs().max() for other in seen) <= 0.1 + 1e-6
    assert not torch.equal(seen[1], seen[2])


def test_changed_images_stay_in_range_and_draws_belong_to_an_image():
    dark, rng = torch.zeros(2, 3, 4, 4), Randomness(0).for_examples(["a", "b"])

    def watched(images):
        assert float(images.min()) >= 0
        return images + torch.arange(4.0)

    whole = max_sensitivity(watched, dark, rng=rng, radius=0.5)
    assert torch.equal(max_sensitivity(watched, dark[1:], rng=rng[[1]], radius=0.5), whole[1:])


def test_maps_that_say_nothing_or_break_have_none():
    def breaks(images):
        maps = torch.arange(16.0).view(1, 4, 4).repeat(3, 1, 1)
        maps[0] = 1.0
        if not torch.equal(images, IMAGES):
            maps[1] = torch.nan
        return maps

    assert max_sensitivity(breaks, IMAGES, rng=Randomness(0)).isnan().tolist() == [True, True, False]


def test_the_control_is_the_change_of_a_map_that_moves():
    maps = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1))
    maps[2] = 0.5
    found = moved_change(maps, Randomness(5))
    assert torch.equal(found[:2], relative_change(maps, moved(maps, Randomness(5)))[:2])
    assert float(found[0]) > 0.1
    assert found[2].isnan()


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"samples": 0}, {"radius": float("inf")}])
def test_refusals(wrong):
    with pytest.raises(InputError, match="radius above 0"):
        max_sensitivity(lambda images: images, IMAGES, rng=Randomness(0), **wrong)
