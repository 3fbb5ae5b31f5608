"""Wrong labels: rates, transition matrices, truth, and independence of order and company."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.core.errors import InputError, LabelsHiddenError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.label_noise import PairwiseLabelNoise, RandomLabelNoise
from snellen.data.worlds.planting.truth import planted_of, true_labels
from tests.data.worlds.planting.labelled_sets import labelled_set, shuffled

IMAGES, RNG = labelled_set(4000, size=2), Randomness(5)


def by_id(images: ImageSet) -> dict[str, tuple[object, ...]]:
    columns = ("id", "label", "true_label", "planted")
    return {str(row[0]): row for row in zip(*(images.column(name) for name in columns), strict=True)}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4, 1.0])
def test_random_noise_is_the_symmetric_transition_matrix(rate: float) -> None:
    noisy = RandomLabelNoise(rate=rate).plant(IMAGES, rng=RNG)
    counts = np.zeros((5, 5))
    np.add.at(counts, (IMAGES.labels, noisy.labels), 1)
    expected = 800 * (np.eye(5) * (1 - rate) + (1 - np.eye(5)) * rate / 4)
    # Five standard deviations of each cell's binomial.
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected * (1 - expected / 800)) + 1e-9).all()


def test_truth_of_each_row() -> None:
    noisy = RandomLabelNoise(rate=0.3).plant(IMAGES, rng=RNG)
    assert true_labels(noisy).tolist() == IMAGES.labels.tolist()
    for before, after, said in zip(IMAGES.labels, noisy.labels, planted_of(noisy, "random_label_noise"), strict=True):
        assert said == (None if before == after else {"label": after, "label_before": before})


@pytest.mark.parametrize("defect", [RandomLabelNoise(rate=0.3), PairwiseLabelNoise(rate=0.3)])
def test_a_row_is_struck_in_any_company(defect: RandomLabelNoise) -> None:
    whole = by_id(defect.plant(IMAGES, rng=RNG))
    assert by_id(defect.plant(shuffled(IMAGES), rng=RNG)) == whole
    part = IMAGES.select(range(3, 4000, 7))
    assert by_id(defect.plant(part, rng=RNG)) == {one: whole[one] for one in part.ids}


def test_higher_rates_keep_what_lower_ones_struck() -> None:
    few, many = (RandomLabelNoise(rate=rate).plant(IMAGES, rng=RNG).labels for rate in (0.1, 0.2))
    struck = few != IMAGES.labels
    assert (many[struck] == few[struck]).all()
    assert (many != IMAGES.labels).sum() > struck.sum()


def test_two_of_a_kind_are_independent() -> None:
    first = RandomLabelNoise(rate=0.3).plant(IMAGES, rng=RNG)
    both = RandomLabelNoise(rate=0.3, key="second").plant(first, rng=RNG)
    one, other = ([entry is not None for entry in planted_of(both, key)] for key in ("random_label_noise", "second"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(4000)
    assert true_labels(both).tolist() == IMAGES.labels.tolist()


def test_pairs() -> None:
    noisy = PairwiseLabelNoise(rate=0.5, pairs={0: 3, 3: 1}).plant(IMAGES, rng=RNG)
    moved = {(int(old), int(new)) for old, new in zip(IMAGES.labels, noisy.labels, strict=True) if old != new}
    assert moved == {(0, 3), (3, 1)}
    assert abs(int((noisy.labels != IMAGES.labels).sum()) - 800) < 5 * np.sqrt(1600 * 0.25)


def test_test_images_are_left_alone_unless_requested() -> None:
    mixed = labelled_set(40, split=None)
    splits = ["train", "test"] * 20
    table = mixed.table.set_column(mixed.table.column_names.index("split"), "split", [splits])
    noisy = RandomLabelNoise(rate=1).plant(ImageSet(mixed.source, table, mixed.class_names), rng=RNG)
    assert (noisy.labels != mixed.labels).tolist() == [split == "train" for split in splits]
    test = labelled_set(40, split="test")
    with pytest.raises(InputError, match=r"noise holds test images only.*touch_test=True"):
        RandomLabelNoise(rate=1).plant(test, rng=RNG)
    assert (RandomLabelNoise(rate=1, touch_test=True).plant(test, rng=RNG).labels != test.labels).all()


def test_refused() -> None:
    with pytest.raises(LabelsHiddenError):
        RandomLabelNoise().plant(IMAGES.unlabelled(), rng=RNG)
    with pytest.raises(InputError, match="needs 2 classes at least; noise has 1"):
        RandomLabelNoise().plant(labelled_set(4, classes=1), rng=RNG)
    with pytest.raises(InputError, match="needs 2 classes at least; noise has 1"):
        PairwiseLabelNoise().plant(labelled_set(4, classes=1), rng=RNG)
    for pairs in ({0: 5}, {1: 1}, {-1: 0}):
        with pytest.raises(InputError, match=r"expected two different classes of 0 … 4"):
            PairwiseLabelNoise(pairs=pairs).plant(IMAGES, rng=RNG)
    nameless = ImageSet(IMAGES.source, IMAGES.table.select(["id"]), None, "bare")
    with pytest.raises(InputError, match="one label for each image; bare has none"):
        RandomLabelNoise().plant(nameless, rng=RNG)
    with pytest.raises(ValueError, match="rate"):
        RandomLabelNoise(rate=1.5)
