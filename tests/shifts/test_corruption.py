"""The shift on top of the operators: which draw, which table, grey images."""

import pytest
import torch

from snellen.corruption.noise import gaussian_noise
from snellen.randomness import Randomness
from snellen.shifts.corruption import Corruption, Kind


def test_noise_is_one_draw_scaled_by_the_severity():
    images = torch.full((2, 3, 224, 224), 0.5)
    images[:, 0] += 0.01  # not grey
    rng = Randomness(4).for_examples(["a", "b"])
    draws = rng.normal("gaussian_noise", (3, 224, 224))
    for severity, deviation in ((1, 0.08), (2.5, 0.15), (5, 0.38)):
        expected = gaussian_noise(images, deviation, draws)
        assert torch.allclose(Corruption().shift(images, severity, rng=rng), expected, atol=1e-6)


@pytest.mark.parametrize("kind", Kind.__args__)
def test_grey_images_stay_grey_beside_coloured_ones(kind):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[0] = images[0, :1]
    shifted = Corruption(kind=kind).shift(images, 3.0)
    # Scaling by value / value may round differently in the last bit, nothing more.
    assert (shifted[0] - shifted[0, :1]).abs().max() <= 1e-6
    assert (shifted[1] - shifted[1, :1]).abs().max() > 0.1


def test_parity_draws_for_each_channel_of_a_grey_image():
    images = torch.full((1, 3, 32, 32), 0.5)
    rng = Randomness(0).bind(1)
    published = Corruption(parity=True).shift(images, 1, rng=rng)
    assert torch.equal(published, gaussian_noise(images, 0.04, rng.normal("gaussian_noise", (3, 32, 32))))
    assert (published - published[:, :1]).abs().max() > 0.05


def test_grey_noise_has_the_stated_deviation_for_a_model_that_averages_channels():
    images = torch.full((1, 3, 224, 224), 0.5)
    noise = (Corruption().shift(images, 1) - images).mean(1)
    assert float(noise.std()) == pytest.approx(0.08, rel=0.01)
