"""Noise that follows the image: its rate, its direction, and independence of company."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.planting.label_noise import ImageDependentLabelNoise
from snellen.data.worlds.planting.truth import planted_of, true_labels
from tests.data.worlds.planting.labelled_sets import labelled_set, rows, shuffled

RNG = Randomness(3)
UNIFORM = (np.arange(20_000) + 0.5) / 20_000


@pytest.mark.parametrize(("rate", "deviation"), [(0.05, 0.025), (0.2, 0.1), (0.5, 0.1), (0.9, 0.05)])
def test_rates_of_images_are_a_truncated_normal(rate: float, deviation: float) -> None:
    bounds = (0 - rate) / deviation, (1 - rate) / deviation
    expected = stats.truncnorm(*bounds, rate, deviation).ppf(UNIFORM)
    found = ImageDependentLabelNoise(rate=rate).rates_of_images(UNIFORM)
    assert np.abs(found - expected).max() < 1e-6
    assert found.mean() == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4, 1.0])
def test_the_share_of_wrong_labels(rate: float) -> None:
    images = labelled_set(2000)
    noisy = ImageDependentLabelNoise(rate=rate).plant(images, rng=RNG)
    wrong = noisy.labels != images.labels
    assert abs(wrong.mean() - rate) <= 0.03 * rate + 5 * np.sqrt(rate * (1 - rate) / 2000)
    assert true_labels(noisy).tolist() == images.labels.tolist()
    for before, after, said in zip(images.labels, noisy.labels, planted_of(noisy, noisy_key()), strict=True):
        assert (said is None) == (before == after)
        assert said is None or (said["label_before"], said["label"]) == (before, after)


def noisy_key() -> str:
    return ImageDependentLabelNoise().truth_key


def test_equal_images_err_alike_and_others_do_not() -> None:
    """Among 1,500 copies of one image, wrong classes are as frequent as the softmax of the projection says."""
    picture = np.random.default_rng(5).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    other = np.random.default_rng(6).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    noise = ImageDependentLabelNoise(rate=1.0)
    counts = []
    for one in (picture, other):
        images = load_arrays(one.repeat(1500, 0), [2] * 1500, class_names=list("abcde"))
        counts.append(np.bincount(noise.plant(images, rng=RNG).labels, minlength=5))
    draws = noise.draws(RNG)
    matrix = np.random.default_rng(draws.generator("projection of class 2").initial_seed()).normal(size=(192, 5))
    scores = np.exp((picture[0].ravel() / 255 - 0.5) @ matrix)
    scores[2] = 0
    expected = 1500 * scores / scores.sum()
    assert (np.abs(counts[0] - expected) <= 5 * np.sqrt(expected) + 1).all()
    assert np.abs(counts[0] - counts[1]).sum() > 300


def test_a_row_is_struck_in_any_company() -> None:
    images, noise = labelled_set(300), ImageDependentLabelNoise(rate=0.4)
    whole = rows(noise.plant(images, rng=RNG))
    assert rows(noise.plant(shuffled(images), rng=RNG)) == whole
    part = images.select(range(0, 300, 7))
    assert rows(noise.plant(part, rng=RNG)) == {one: whole[one] for one in part.ids}


def test_images_that_cannot_be_read_keep_their_label() -> None:
    class Damaged:
        def read(self, index: int) -> Image.Image:
            raise RejectedImageError("damaged")

        def content_hash(self, index: int) -> str:
            return str(index)

    images = labelled_set(20)
    damaged = ImageSet(Damaged(), images.table, images.class_names)
    assert ImageDependentLabelNoise(rate=1).plant(damaged, rng=RNG).labels.tolist() == images.labels.tolist()


def test_refused() -> None:
    with pytest.raises(InputError, match="needs 2 classes at least; noise has 1"):
        ImageDependentLabelNoise().plant(labelled_set(4, classes=1), rng=RNG)
    with pytest.raises(InputError, match="holds test images only"):
        ImageDependentLabelNoise().plant(labelled_set(4, split="test"), rng=RNG)
