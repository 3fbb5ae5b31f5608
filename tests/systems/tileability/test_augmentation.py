"""What keeps a texture whole and what breaks it, by the jump at its seams and by the endless plane."""

from __future__ import annotations

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.systems.tileability.augmentation import DAMAGES, broken, damaged, preserving, rolled
from snellen.systems.tileability.synthesis import seam_ratio


@pytest.fixture(scope="module")
def whole():
    """Smooth textures that repeat: waves of whole periods, float32 (6, 3, 48, 48)."""
    steps = torch.arange(48) / 48 * 2 * torch.pi
    waves = [
        (torch.sin(k * steps)[:, None] * torch.cos(m * steps)[None] + torch.cos(k * steps[:, None] + m * steps[None]))
        for k, m in ((1, 2), (2, 1), (3, 2), (2, 3), (1, 3), (3, 3))
    ]
    return (0.5 + 0.2 * torch.stack(waves))[:, None].expand(-1, 3, -1, -1).contiguous()


def of(count):
    return Randomness(3).bind(count)


def test_rolled_images_are_the_same_on_the_torus(whole):
    moved = rolled(whole, torch.tensor([[0.25, 0.5]] * 6))
    assert torch.equal(moved, whole.roll((-12, -24), (2, 3)))
    apart = rolled(whole, torch.tensor([[0.25, 0.5]] + [[0.0, 0.0]] * 5))
    assert torch.equal(apart[1:], whole[1:]), "each image has its own place"


@pytest.mark.covers("21.2")
def test_what_preserves_leaves_seams_as_they_were(whole):
    for number in range(5):
        changed = preserving(whole, Randomness(number).bind(6))
        assert not torch.equal(changed, whole)
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert all(seam_ratio(one) < 1.5 for one in changed)


def test_colours_change_alike_everywhere(whole):
    flat = torch.full_like(whole, 0.5)
    changed = preserving(flat, of(6))
    assert float(changed.std((2, 3)).max()) < 0.05, "but for a little noise"
    assert float(changed.mean((2, 3)).std()) > 0.02


@pytest.mark.covers("21.3")
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_ends_the_repetition(whole, damage):
    broken = damaged(whole, damage, torch.rand(6, 5, generator=torch.Generator().manual_seed(1)))
    assert broken.shape == whole.shape
    assert float(broken.min()) >= 0
    assert float(broken.max()) <= 1
    assert (broken - whole).abs().amax((1, 2, 3)).min() > 0.02
    if damage in ("crop", "rotation", "shear", "ramp"):
        assert min(seam_ratio(one) for one in broken) > 1.2
    if damage == "blob":
        assert max(seam_ratio(one) for one in broken) < 1.5, "a spot has no seam"


def test_a_window_without_a_change_is_the_texture(whole):
    from snellen.systems.tileability.augmentation import _window

    assert torch.allclose(_window(whole, torch.eye(2).repeat(6, 1, 1)), whole, atol=1e-5)


def test_two_batches_change_alike(whole):
    assert torch.equal(preserving(whole, of(6)), preserving(whole.clone(), of(6)))


def test_a_roll_moves_a_seam_inside_and_without_it_the_seam_stays(whole):
    ramp = torch.linspace(0, 1, 48).expand(6, 3, 48, 48)
    ratios = [seam_ratio(one) for one in preserving(ramp, of(6), roll=False)]
    assert min(ratios) > 5
    assert max(seam_ratio(one) for one in preserving(ramp, of(6))) < 5


def test_each_texture_has_a_damage_of_its_own(whole):
    images = whole.repeat(20, 1, 1, 1)
    made = broken(images, of(120))
    assert bool((made != images).flatten(1).any(1).all())
    assert torch.equal(broken(images, of(120)), made), "the same batch is broken alike"
    spots = broken(images, of(120), ("blob",))
    assert bool((spots >= images - 1e-6).all()), "a spot only lightens"
