"""Views: one draw for both partners, linear, and never written into what they are taken of."""

import pytest
import torch

from snellen.core.errors import UnknownNameError
from snellen.core.randomness import Randomness
from snellen.systems.perturbation_estimation.fitting import drawn
from snellen.systems.perturbation_estimation.losses import VIEWS, draw_view, untouched


def pairs(count=6, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(count, 3, size, size, generator=generator)
    return clean, (clean + 0.1 * torch.rand(clean.shape, generator=generator)).clamp(0, 1)


def bound(count=6, seed=0):
    return Randomness(seed).for_examples([f"pair {row}" for row in range(count)])


@pytest.mark.covers("5.2")
@pytest.mark.parametrize("name", VIEWS)
def test_partners_get_the_same_draw_and_views_are_linear(name):
    clean, adversarial = pairs()
    view = draw_view(name, clean, bound())
    assert torch.allclose(view(adversarial) - view(clean), view(adversarial - clean), atol=1e-6)
    assert not torch.equal(view(clean), clean)
    again = draw_view(name, adversarial, bound())
    assert torch.equal(again(clean), view(clean)), "the draw depends on the images"
    others = [draw_view(name, clean, bound(seed=seed))(clean) for seed in (1, 2, 3)]
    assert not all(torch.equal(other, view(clean)) for other in others), "the seed changes nothing"


@pytest.mark.covers("5.4")
@pytest.mark.parametrize("name", VIEWS)
def test_nothing_is_written_into(name):
    clean, _ = pairs()
    kept = clean.clone()
    draw_view(name, clean, bound())(clean)
    assert torch.equal(clean, kept)


@pytest.mark.covers("5.4", "5.13")
def test_the_first_view_is_untouched_but_for_parity():
    clean, _ = pairs()
    views = drawn(("crop_and_pad", "cutmix"), clean, bound())
    assert len(views) == 3
    assert views[0] is untouched
    assert torch.equal(views[0](clean), clean)
    published = drawn(("crop_and_pad", "cutmix"), clean, bound(), parity=True)
    assert torch.equal(published[0](clean), views[2](clean))
    assert torch.equal(published[1](clean), views[1](clean)), "the window is cut before CutMix writes"
    assert drawn((), clean, bound(), parity=True)[0] is untouched


def test_each_image_has_its_own_draw_whatever_the_batch():
    clean, _ = pairs()
    rng = bound()
    for name in ("crop_and_pad", "cutout", "flip", "rotation", "translation"):
        whole = draw_view(name, clean, rng)(clean)
        part = draw_view(name, clean[[4, 1]], rng[[4, 1]])(clean[[4, 1]])
        assert torch.allclose(part, whole[[4, 1]], atol=1e-6), name


@pytest.mark.parametrize("size", [5, 28, 224])
def test_windows_are_squares_of_every_size_up_to_the_whole_image(size):
    count = 200
    ones = torch.ones(count, 1, size, size).expand(-1, 3, -1, -1)
    rng = bound(count)
    windows = draw_view("crop_and_pad", ones, rng)(ones)[:, 0]
    rows, columns = windows.amax(2).sum(1), windows.amax(1).sum(1)
    assert torch.equal(windows.sum((1, 2)), rows * columns), "not a box"
    assert rows.min() >= 1
    assert rows.max() > 0.9 * size
    assert 0.2 < float(windows.mean()) < 0.8
    holes = 1 - draw_view("cutout", ones, rng)(ones)[:, 0]
    assert 1 <= float(holes.sum((1, 2)).max()) <= (50 / 224 * size + 1) ** 2


def test_cutmix_pastes_the_box_of_one_partner():
    levels = torch.arange(8.0).div(10).view(8, 1, 1, 1).expand(-1, 3, 16, 16)
    mixed = draw_view("cutmix", levels, bound(8))(levels)
    shown = [set(image.unique().tolist()) for image in mixed]
    assert all(len(one) <= 2 for one in shown)
    assert any(len(one) == 2 for one in shown)


def test_rotations_turn_and_shifts_move_whole_pixels():
    image = torch.zeros(40, 3, 9, 9)
    image[:, :, 4, 4] = 1
    moved = draw_view("translation", image, bound(40))(image)
    assert moved.amax((1, 2, 3)).min() > 0.999, "a shift is no whole number of pixels"
    assert torch.allclose(moved.sum((1, 2, 3)), torch.tensor(3.0), atol=1e-3)
    turned = draw_view("rotation", image, bound(40))(image)
    assert torch.allclose(turned[:, 0, 4, 4], torch.ones(40), atol=1e-5), "the centre must stay"


def test_rotations_of_wide_images_do_not_shear():
    """A blob 5 pixels to the right of the centre goes round it at this distance, by the angle that was drawn."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    across, down = columns - 19.5, rows - 11.5
    blob = torch.exp(-((across - 5).square() + down.square()) / 4)
    image = blob.expand(12, 3, -1, -1).contiguous()
    rng = bound(12)
    turned = draw_view("rotation", image, rng)(image)[:, 0]
    mass = turned.sum((1, 2))
    centre = torch.stack([(turned * across).sum((1, 2)), (turned * down).sum((1, 2))], 1) / mass[:, None]
    assert torch.allclose(centre.norm(dim=1), torch.tensor(5.0), atol=0.1)
    angles = rng.child("rotation").uniform("angle", (), -torch.pi, torch.pi)
    assert torch.allclose(centre[:, 0], 5 * angles.cos(), atol=0.15)
    assert torch.allclose(centre[:, 1].abs(), 5 * angles.sin().abs(), atol=0.15)


def test_an_unknown_view_has_near_names():
    with pytest.raises(UnknownNameError, match="unknown view 'cutmx'; did you mean 'cutmix'"):
        draw_view("cutmx", *(pairs()[0], bound()))
