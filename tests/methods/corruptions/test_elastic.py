"""The elastic transform against the published formula in SciPy, with the same draws."""

import numpy as np
import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.elastic import elastic_transform

ndimage = pytest.importorskip("scipy.ndimage")
skimage = pytest.importorskip("skimage")

PUBLISHED = [  # severities 1 to 5 at 224 pixels, then at 32
    (224, 488.0, 170.8, 24.4),
    (224, 488.0, 19.52, 48.8),
    (224, 12.2, 2.44, 4.88),
    (224, 17.08, 2.44, 4.88),
    (224, 29.28, 2.44, 4.88),
    (32, 0.0, 0.0, 2.56),
    (32, 1.6, 6.4, 2.24),
    (32, 2.56, 1.92, 1.92),
    (32, 3.2, 1.28, 1.6),
    (32, 3.2, 0.96, 0.96),
]


def photo(height, width):
    pixels = skimage.transform.resize(skimage.data.astronaut(), (height, width), anti_aliasing=True)
    return torch.from_numpy(pixels).float().permute(2, 0, 1)[None].contiguous()


def published(image, rng, amplitude, deviation, affine):
    """The published formula, float64: (1, 3, h, w) → (3, h, w). OpenCV's warp is an interpolation of order 1."""
    pixels = image[0].double().numpy()
    height, width = pixels.shape[1:]
    centre, half = np.array([width // 2, height // 2]), min(height, width) // 3
    before = np.array([centre + half, [centre[0] + half, centre[1] - half], centre - half], float)
    moves = rng.uniform("elastic_corners", (3, 2), -1.0, 1.0)[0].double().numpy()
    after = before + affine * moves
    matrix = np.linalg.solve(np.column_stack([before, np.ones(3)]), after).T
    y, x = np.mgrid[:height, :width].astype(float)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    source_x, source_y, _ = np.tensordot(back, np.stack([x, y, np.ones_like(x)]), 1)
    warped = [ndimage.map_coordinates(plane, [source_y, source_x], order=1, mode="mirror") for plane in pixels]
    noise = rng.uniform("elastic_displacement", (2, height, width), -1.0, 1.0)[0].double().numpy()
    across, down = (ndimage.gaussian_filter(n, deviation, mode="reflect", truncate=3) * amplitude for n in noise)
    return np.stack([ndimage.map_coordinates(w, [y + down, x + across], order=1, mode="reflect") for w in warped])


@pytest.mark.parametrize(("side", "amplitude", "deviation", "affine"), PUBLISHED)
def test_equals_the_published_formula(side, amplitude, deviation, affine):
    image = photo(side, side)
    for seed in range(2):
        rng = Randomness(seed).bind(1)
        ours = elastic_transform(image, rng, amplitude=amplitude, deviation=deviation, affine=affine)
        theirs = published(image, rng, amplitude, deviation, affine)
        assert np.abs(ours[0].numpy() - theirs).max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (7, 31)])
def test_equals_it_with_the_triangle_in_the_middle_of_other_shapes(height, width):
    image, rng = photo(height, width), Randomness(0).bind(1)
    ours = elastic_transform(image, rng, amplitude=9.0, deviation=2.5, affine=3.0)
    assert np.abs(ours[0].numpy() - published(image, rng, 9.0, 2.5, 3.0)).max() < 1e-3


def test_far_displacements_are_mirrored_as_often_as_needed():
    image, rng = photo(12, 9), Randomness(0).bind(1)
    ours = elastic_transform(image, rng, amplitude=70.0, deviation=0.0, affine=3.0)
    assert np.abs(ours[0].numpy() - published(image, rng, 70.0, 0.0, 3.0)).max() < 1e-3


def test_identity_and_growth():
    image, rng = photo(64, 64), Randomness(0).bind(1).remembering()
    assert torch.equal(elastic_transform(image, rng, amplitude=0.0, deviation=3.0, affine=0.0), image)
    nearly = elastic_transform(image, rng, amplitude=1e-4, deviation=1.0, affine=1e-4)
    assert torch.allclose(nearly, image, atol=1e-3)
    changes = [
        float((elastic_transform(image, rng, amplitude=a, deviation=2.0, affine=0.0) - image).abs().mean())
        for a in (1.0, 2.0, 4.0, 8.0)
    ]
    assert changes == sorted(changes)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (24, 17)])
def test_any_size_and_batch_is_single(size):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    rng = Randomness(0).for_examples(["a", "b", "c"]).remembering()
    strength = {"amplitude": 5.0, "deviation": 1.7, "affine": 0.4}
    changed = elastic_transform(images, rng, **strength)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert torch.equal(images, kept)
    assert torch.equal(elastic_transform(images, rng, **strength), changed), "the remembered draws were not changed"
    for row in range(3):
        alone = elastic_transform(images[row : row + 1], rng[[row]], **strength)
        assert torch.allclose(alone[0], changed[row], atol=1e-5)
    assert elastic_transform(images[:0], Randomness(0).bind(0), **strength).shape == (0, 3, *size)
    if size == (1, 1):
        assert torch.equal(changed, images)
