"""What all blurs promise: shapes, range, inputs left alone, the same result in any batch, more change with strength."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur, zoom_blur
from snellen.methods.corruptions.glass import glass_blur

FUNCTIONS = {
    "gaussian_blur": gaussian_blur,
    "kernel_blur": kernel_blur,
    "defocus_blur": defocus_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "glass_blur": glass_blur,
}

#: Kind → settings in the order of their strength.
STRENGTHS = {
    "gaussian_blur": [{"deviation": deviation} for deviation in (0.4, 1, 2.2, 6)],
    "kernel_blur": [{"kernel": kernel} for kernel in (1.5, 3, 4.2, 25)],
    "defocus_blur": [{"radius": radius, "alias": 0.5} for radius in (0.5, 2, 4.6, 10)],
    "motion_blur": [{"radius": radius, "deviation": 8} for radius in (0.3, 3, 5.7, 15)],
    "zoom_blur": [{"end": end, "step": 0.01} for end in (1.03, 1.055, 1.11, 1.26)],
    "glass_blur": [{"deviation": 0.7, "displacement": size, "passes": 1.5} for size in (0.4, 1, 1.5, 4)],
}


@pytest.fixture(scope="module")
def images():
    photos = [Image.fromarray(photo).resize((48, 40)) for photo in (data.astronaut(), data.chelsea(), data.coffee())]
    return torch.from_numpy(np.stack([np.asarray(photo) for photo in photos])).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("kind", STRENGTHS)
def test_change_grows(kind, images):
    rng = Randomness(0).bind(3).remembering()
    results = [FUNCTIONS[kind](images, rng, **settings) for settings in STRENGTHS[kind]]
    changes = [float((result - images).abs().mean()) for result in results]
    assert 0 < changes[0] < 0.6 * changes[-1]
    assert changes == sorted(changes)
    assert torch.equal(FUNCTIONS[kind](images, rng, **STRENGTHS[kind][0]), results[0]), (
        "remembered draws were left alone"
    )


@pytest.mark.parametrize("kind", STRENGTHS)
def test_batch_is_single(kind, images):
    rng = Randomness(3).for_examples(["a", "b", "c"])
    for settings in STRENGTHS[kind]:
        together = FUNCTIONS[kind](images, rng, **settings)
        for row in range(3):
            assert torch.allclose(FUNCTIONS[kind](images[[row]], rng[[row]], **settings)[0], together[row], atol=2e-6)


@pytest.mark.parametrize("kind", STRENGTHS)
@pytest.mark.parametrize(
    "size", [(0, 3, 8, 8), (2, 3, 1, 1), (2, 3, 1, 9), (2, 3, 9, 1), (1, 3, 33, 5), (1, 3, 260, 240)]
)
def test_any_size(kind, size):
    images = torch.rand(size, generator=torch.Generator().manual_seed(0))
    kept, rng = images.clone(), Randomness(0).bind(size[0])
    for settings in STRENGTHS[kind]:
        result = FUNCTIONS[kind](images, rng, **settings)
        assert result.shape == images.shape
        assert result.dtype == torch.float32
        assert bool(((result >= 0) & (result <= 1)).all())
        result.fill_(-1)
        assert torch.equal(images, kept)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_constant_images_stay(kind):
    images = torch.full((2, 3, 30, 34), 0.5)
    for settings in STRENGTHS[kind]:
        result = FUNCTIONS[kind](images, Randomness(0).bind(2), **settings)
        # The disk of radius 10 does not sum to 1: see its docstring.
        expected = 0.5 * (1.0108 if settings.get("radius") == 10 else 1.0)
        assert torch.allclose(result, torch.full_like(result, expected), atol=1e-4)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_any_layout(kind, images):
    rng, settings = Randomness(0).bind(3), STRENGTHS[kind][2]
    for view in (images[:, :, 4:, 3:-2], images.to(memory_format=torch.channels_last), images.transpose(2, 3)):
        assert torch.equal(FUNCTIONS[kind](view, rng, **settings), FUNCTIONS[kind](view.contiguous(), rng, **settings))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_gradients_pass(kind, images):
    images = images.clone().requires_grad_()
    FUNCTIONS[kind](images, Randomness(0).bind(3), **STRENGTHS[kind][1]).sum().backward()
    # A blur hands on what it gets: the gradient of the sum is about 1 but for the borders.
    assert images.grad is not None
    assert float(images.grad.mean()) == pytest.approx(1, abs=0.1)
