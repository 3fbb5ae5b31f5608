"""Glass blur: the wavefront against the plain loop, the published copies, and the draws at real strengths."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from snellen.core.randomness import Randomness
from snellen.methods.corruptions import glass
from snellen.methods.corruptions.glass import draw_moves, glass_blur, shuffle, wavefront

STRENGTHS = {"deviation": 0.7, "displacement": 2, "passes": 2}


def one_after_another(moves, reach, parity):
    """The published loop on one image: (passes, 2, h, w) → (h, w)."""
    passes, _, height, width = moves.shape
    pixels = np.arange(height * width).reshape(height, width)
    for number in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, right = moves[number, :, row, column].tolist()
                other = row + down, column + right
                here, there = pixels[row, column], pixels[other]
                pixels[row, column] = there
                if not parity:
                    pixels[other] = here
    return pixels


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize(
    ("size", "reach", "passes"),
    [((32, 32), 1, 2), ((17, 29), 2, 3), ((29, 17), 4, 2), ((9, 40), 3, 4), ((5, 5), 2, 2), ((3, 3), 1, 1)],
)
def test_equal_to_visits_one_after_another(size, reach, passes, parity):
    generator = torch.Generator().manual_seed(0)
    moves = torch.randint(-reach, reach, (3, passes, 2, *size), generator=generator)
    together = shuffle(moves, reach, parity=parity).view(3, *size)
    for ours, own in zip(together, moves, strict=True):
        assert ours.tolist() == one_after_another(own, reach, parity).tolist()


def test_every_pixel_is_visited_once_a_pass():
    places, together = wavefront(20, 15, 3, 2)
    assert sum(together) == len(places) == len(places.unique()) == 2 * 14 * 9
    assert len(together) < 14 * 9, "many at a time"


def test_swaps_keep_every_pixel_and_copies_do_not():
    moves = torch.randint(-2, 2, (1, 2, 2, 30, 30), generator=torch.Generator().manual_seed(0))
    assert sorted(shuffle(moves, 2)[0].tolist()) == list(range(900))
    assert len(shuffle(moves, 2, parity=True)[0].unique()) < 700


@pytest.mark.parametrize("parity", [False, True])
def test_blur_shuffle_blur(parity, monkeypatch):
    monkeypatch.setattr(glass, "PIXELS_AT_ONCE", 2 * 24 * 19)
    images, rng = torch.rand(3, 3, 24, 19), Randomness(1).bind(3)
    moves = draw_moves(images, rng, displacement=2, passes=2)
    glassy = glass_blur(images, rng, **STRENGTHS, parity=parity)
    for image, own, ours in zip(images.double().numpy(), moves, glassy, strict=True):
        blurred = gaussian_filter(image, 0.7, axes=(1, 2), mode="nearest")
        shuffled = blurred.reshape(3, -1)[:, one_after_another(own, 2, parity)]
        assert np.abs(gaussian_filter(shuffled, 0.7, axes=(1, 2), mode="nearest") - ours.numpy()).max() < 1e-5


@pytest.mark.parametrize("displacement", [1, 2, 4])
def test_whole_displacements_are_uniform(displacement):
    moves = draw_moves(torch.zeros(4, 3, 100, 100), Randomness(0).bind(4), displacement=displacement, passes=2)
    values, counts = moves.unique(return_counts=True)
    assert values.tolist() == list(range(-displacement, displacement))
    assert torch.allclose(counts / counts.sum(), torch.tensor(0.5 / displacement), rtol=0.03)
    down, right = moves.double().transpose(0, 2).flatten(1)[:2]
    assert abs(float(torch.corrcoef(torch.stack([down, right]))[0, 1])) < 0.02


def test_real_strengths_lie_between_the_whole_ones():
    images, rng = torch.zeros(2, 3, 100, 100), Randomness(0).bind(2)
    one, between, two = (draw_moves(images, rng, displacement=d, passes=2) for d in (1, 1.25, 2))
    as_one, as_two = (between == one).all(2), (between == two).all(2)
    assert bool((as_one | as_two).all())
    assert float((as_two & ~as_one).double().mean()) == pytest.approx(
        0.25 * float((one != two).any(2).double().mean()), rel=0.05
    )
    partly = draw_moves(images, rng, displacement=2, passes=1.3)
    assert torch.equal(partly[:, 0], two[:, 0])
    kept = (partly[:, 1] == two[:, 1]).all(1)
    assert bool(((partly[:, 1] == 0).all(1) | kept).all())
    assert float(kept.double().mean()) == pytest.approx(0.3 + 0.7 / 16, rel=0.05)


@pytest.mark.parametrize("name", ["displacement", "passes"])
def test_change_grows_with_the_strengths(name):
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    changes = []
    for strength in np.arange(0, 3.1, 0.25):
        settings = STRENGTHS | {"deviation": 0, name: float(strength)}
        changes.append(float((glass_blur(ramp, Randomness(0).bind(1), **settings) - ramp).abs().mean()))
    assert changes[0] == 0
    assert np.diff(changes).min() > 0
    assert np.diff(changes).max() < 0.3 * changes[-1]
