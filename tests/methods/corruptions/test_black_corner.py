"""Black corners against a circle by brute force."""

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.marks import black_corner


def brute_force(height, width, radius):
    row, column = height // 2, width // 2
    reach = int(radius * min(row, column, height - row, width - column))
    inside = [[(y - row) ** 2 + (x - column) ** 2 <= reach**2 for x in range(width)] for y in range(height)]
    return torch.tensor(inside)


@pytest.mark.parametrize("size", [(224, 224), (1, 1), (1, 9), (9, 1), (2, 2), (31, 44), (64, 51)])
@pytest.mark.parametrize("radius", [1.1, 1.05, 1.0, 0.95, 0.9, 0.33, 0.0])
def test_circle(size, radius):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) + 0.01
    changed = black_corner(images.clamp(0, 1), Randomness(0).bind(2), radius=radius)
    inside = brute_force(*size, radius).expand(2, 3, -1, -1)
    assert torch.equal(changed[inside], images.clamp(0, 1)[inside])
    assert (changed[~inside] == 0).all()


def test_number_of_pixels_is_that_of_the_published_circles():
    # OpenCV 4.11's filled circle round (112, 112) on 224 x 224 pixels, radii 123, 117, 112, 100, 106.
    kept = [
        int(black_corner(torch.ones(1, 3, 224, 224), Randomness(0).bind(1), radius=radius)[0, 0].sum())
        for radius in (1.1, 1.05, 1.0, 0.9, 0.95)
    ]
    assert kept == [44495, 42091, 39379, 31417, 35265]


def test_a_large_circle_leaves_the_image_as_it_is():
    images = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(black_corner(images, Randomness(0).bind(1), radius=1.5), images)


def test_input_is_kept_and_no_images_are_no_images():
    images = torch.ones(2, 3, 8, 8)
    black_corner(images, Randomness(0).bind(2), radius=0.5)
    assert (images == 1).all()
    assert black_corner(images[:0], Randomness(0).bind(0), radius=0.5).shape == (0, 3, 8, 8)


def test_smaller_circles_keep_less():
    images = torch.ones(1, 3, 50, 50)
    kept = [
        black_corner(images, Randomness(0).bind(1), radius=radius).sum().item() for radius in (1.2, 1.0, 0.8, 0.5, 0.1)
    ]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 5
