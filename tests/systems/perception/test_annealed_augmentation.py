"""The annealed augmentation: published ranges, what each operation does, and how it fades."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snellen.systems.perception import annealed_augmentation as augmentation
from snellen.systems.perception.annealed_augmentation import augment_copies

Draw = Callable[[float, float], Tensor]


@pytest.mark.covers("20.4")
def test_augmentation_fades_to_the_identity_and_copies_differ() -> None:
    copies = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1, 1)

    def changed(strength: float) -> Tensor:
        return augment_copies(copies, strength, torch.Generator().manual_seed(1))

    assert changed(0.0) is copies
    sizes = [float((changed(strength) - copies).abs().mean()) for strength in (1.0, 0.1, 0.001)]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    assert sizes[2] < 1e-3
    assert torch.cdist(changed(1.0).flatten(1), changed(1.0).flatten(1)).fill_diagonal_(9).min() > 1e-3
    assert torch.equal(changed(1.0), changed(1.0))


RANGES = {
    "_crop": [(0, 0.04)] * 4,
    "_blur": [(0, 1), (0, 0.6)],
    "_contrast": [(0.75, 1.5)],
    "_noise": [(0, 0.05)],
    "_multiply": [(0.8, 1.2)],
    "_affine": [(0.7, 1.3)] * 2 + [(-0.1, 0.1)] * 2 + [(-10, 10), (-6, 6)],
}


def drawn(values: dict[tuple[float, float], float], asked: list[tuple[float, float]] | None = None) -> Draw:
    """Draws that give what is said of a range, and its middle otherwise."""

    def draw(low: float, high: float) -> Tensor:
        if asked is not None:
            asked.append((low, high))
        return torch.tensor([values.get((low, high), (low + high) / 2)])

    return draw


def operation(name: str, image: Tensor, values: dict[tuple[float, float], float], strength: float = 1.0) -> Tensor:
    changed: Tensor = getattr(augmentation, name)(image, strength, drawn(values), torch.Generator().manual_seed(0))
    return changed


@pytest.mark.covers("20.4")
def test_every_operation_draws_from_the_published_ranges_and_all_are_made() -> None:
    assert [one.__name__ for one in augmentation._OPERATIONS] == list(RANGES)
    for one in augmentation._OPERATIONS:
        asked: list[tuple[float, float]] = []
        one(torch.rand(1, 1, 8, 8), 1.0, drawn({}, asked), torch.Generator())
        assert asked == RANGES[one.__name__]


@pytest.mark.covers("20.4")
def test_operations_do_what_they_draw() -> None:
    image = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(operation("_multiply", image, {(0.8, 1.2): 1.2}), image * 1.2)
    torch.testing.assert_close(operation("_contrast", image, {(0.75, 1.5): 1.5}), 0.5 + 1.5 * (image - 0.5))
    noise = operation("_noise", torch.zeros(1, 1, 99, 99), {(0.0, 0.05): 0.05})
    assert float(noise.std()) == pytest.approx(0.05, rel=0.05)
    # Every second copy is blurred, along both sides.
    assert torch.equal(operation("_blur", image, {(0.0, 1.0): 0.5}), image)
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    blurred = operation("_blur", dot, {(0.0, 1.0): 0.49, (0.0, 0.6): 0.6})
    falling = math.exp(-1 / (2 * 0.6**2))
    assert float(blurred[0, 0, 4, 5] / blurred[0, 0, 4, 4]) == pytest.approx(falling, rel=1e-4)
    assert float(blurred[0, 0, 5, 4] / blurred[0, 0, 4, 4]) == pytest.approx(falling, rel=1e-4)
    assert float(blurred.sum()) == pytest.approx(1)


@pytest.mark.covers("20.4")
def test_geometry_goes_as_stated() -> None:
    image = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    middle = {(0.0, 0.04): 0.0}
    torch.testing.assert_close(operation("_crop", image, middle), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(operation("_affine", image, {}), image, atol=1e-5, rtol=0)
    # A tenth of 20 pixels, to the right and down.
    moved = operation("_affine", image, {(-0.1, 0.1): 0.1})
    torch.testing.assert_close(moved[..., 2:, 2:], image[..., :-2, :-2], atol=1e-5, rtol=0)
    # At nine times the strength a turn is a right angle, and the scale's middle is 1 still.
    turned = operation("_affine", image, {(-90.0, 90.0): 90.0}, 9.0)
    torch.testing.assert_close(turned, image.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    # A shear leaves what lies across where it is, and moves what lies below to the left by the tangent.
    corner = torch.zeros(1, 1, 41, 41)
    corner[..., 20, 30] = corner[..., 30, 20] = 1
    sheared = operation("_affine", corner, {(-45.0, 45.0): 45.0}, 7.5)
    assert float(sheared[0, 0, 20, 30]) == pytest.approx(1, abs=1e-4)
    across, down = 20 - 10 * math.sin(math.pi / 4), 20 + 10 * math.cos(math.pi / 4)
    assert float(sheared[0, 0, round(down), round(across)]) > 0.4
    # A twenty-fifth off the left: what was there is gone, and what is at the right end stays there.
    edge = torch.zeros(1, 1, 50, 50)
    edge[..., :2], edge[..., -1] = 1, 1
    cut = augmentation._crop(edge, 1.0, iter_draw([0.04, 0.0, 0.0, 0.0]), torch.Generator())
    assert float(cut[..., 10, 1]) == pytest.approx(0, abs=1e-4)
    assert float(cut[..., 10, -1]) > 0.9


def iter_draw(values: list[float]) -> Draw:
    """Draws that give one value after the other."""
    left = iter(values)
    return lambda low, high: torch.tensor([next(left)])


def test_geometry_is_within_its_ranges() -> None:
    """A single bright pixel off the centre moves by no more than crops, scale, shift, turn and shear allow together."""
    dot = torch.zeros(200, 1, 41, 41)
    dot[:, :, 18:23, 26:31] = 1
    moved = augment_copies(dot, 1.0, torch.Generator().manual_seed(0)).clamp(0, 1)
    bright = (moved > 0.5).float()
    weight = bright.flatten(1).sum(1)
    places = torch.arange(41.0)
    across = (bright.sum(2)[:, 0] * places).sum(1)[weight > 0] / weight[weight > 0]
    assert (weight > 0).float().mean() > 0.9
    assert 20 < across.min() < 25 < 31 < across.max() < 37
    assert abs(float(across.mean()) - 28) < 1
