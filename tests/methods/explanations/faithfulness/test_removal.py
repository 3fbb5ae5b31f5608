"""Deletion and insertion curves, and the worth of a region: by hand on scores that see known pixels."""

import itertools

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.faithfulness.removal import region_effect, removal_curves
from snellen.methods.explanations.filling import constant_filling
from snellen.methods.explanations.maps import moved
from snellen.methods.explanations.score import TargetScore

IMAGES = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1])


def sums(**options):
    """Score 0 is the sum of all pixels, score 1 its double."""
    return Classifier(
        lambda images: images.mean(1).sum((1, 2))[:, None] * torch.tensor([1.0, 2.0]), class_names=["a", "b"], **options
    )


def score_of(classifier, targets=TARGETS, **options):
    return TargetScore(classifier, targets, **{"of": "score", **options})


def test_curves_by_hand():
    maps = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    found = removal_curves(score_of(sums()), IMAGES, constant_filling(IMAGES, 0.0), maps, steps=3)
    for row, factor in ((0, 1.0), (1, 2.0)):
        pixels = (IMAGES[row].mean(0) * factor).flatten()[maps[row].flatten().argsort(descending=True)]
        removed = [0, 7, 13, 20]
        deletion = [float(pixels[count:].sum()) for count in removed]
        insertion = [float(pixels[:count].sum()) for count in removed]
        assert found.deletion[row].tolist() == pytest.approx(deletion, abs=1e-5)
        assert found.insertion[row].tolist() == pytest.approx(insertion, abs=1e-5)
        area = sum((a + b) / 6 for a, b in itertools.pairwise(deletion))
        assert float(found.deletion_area[row]) == pytest.approx(area, abs=1e-5)
    assert found.shares.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_best_order_has_the_smallest_deletion_and_the_largest_insertion():
    true = IMAGES.mean(1)
    filled = constant_filling(IMAGES, 0.0)
    best = removal_curves(score_of(sums()), IMAGES, filled, true)
    for other in (moved(true, Randomness(0)), -true):
        worse = removal_curves(score_of(sums()), IMAGES, filled, other)
        assert bool((best.deletion_area < worse.deletion_area).all())
        assert bool((best.insertion_area > worse.insertion_area).all())
        assert torch.allclose(best.deletion[:, [0, -1]], worse.deletion[:, [0, -1]])


def test_what_it_costs_and_that_chunks_change_nothing():
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    classifier = sums()
    with classifier.counting() as spent:
        whole = removal_curves(score_of(classifier), IMAGES, constant_filling(IMAGES), maps, steps=5)
    assert spent().queries == 2 * 2 * 5
    parts = removal_curves(score_of(classifier, chunk=3), IMAGES, constant_filling(IMAGES), maps, steps=5)
    assert torch.equal(whole.deletion, parts.deletion)
    assert torch.equal(whole.insertion, parts.insertion)


def test_a_map_that_says_nothing_and_a_score_that_breaks_have_no_curves():
    def model(images):
        value = images.mean((1, 2, 3))
        return torch.where(images[:, 1, 3, 4] == 0, torch.nan, value)[:, None].expand(-1, 2) * 1.0

    images = torch.ones(3, 3, 4, 5)
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    maps[1] = 0.0
    maps[2, 0, 0] = torch.nan
    classifier = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"])
    zeros = torch.zeros(3, dtype=torch.int64)
    found = removal_curves(score_of(classifier, zeros), images, constant_filling(images), maps)
    assert found.deletion.isnan().all(1).tolist() == [False, True, True]
    assert found.insertion_area.isnan().tolist() == [False, True, True]
    breaks = score_of(Classifier(model, class_names=["a", "b"]), zeros)
    assert removal_curves(breaks, images, constant_filling(images, 0.0), maps).deletion.isnan().all()


def test_curves_are_refused_for_other_images():
    with pytest.raises(InputError, match="a map for each of the images"):
        removal_curves(score_of(sums()), IMAGES, constant_filling(IMAGES), torch.rand(2, 4, 4))
    with pytest.raises(InputError, match="at least one step"):
        removal_curves(score_of(sums()), IMAGES, constant_filling(IMAGES), torch.rand(2, 4, 5), steps=0)


def test_the_worth_of_a_region():
    regions = torch.zeros(2, 4, 5, dtype=torch.bool)
    regions[0, 1:3, 2:5] = True
    found = region_effect(score_of(sums()), IMAGES, constant_filling(IMAGES, 0.0), regions, Randomness(4))
    inside = float((IMAGES[0].mean(0) * regions[0]).sum())
    assert float(found.drop[0]) == pytest.approx(inside, abs=1e-5)
    assert float(found.kept[0]) == pytest.approx(inside, abs=1e-5)
    elsewhere = moved(regions, Randomness(4))
    assert not torch.equal(elsewhere, regions)
    there = float((IMAGES[0].mean(0) * elsewhere[0]).sum())
    assert float(found.control_drop[0]) == pytest.approx(there, abs=1e-5)
    assert float(found.control_kept[0]) == pytest.approx(there, abs=1e-5)
    assert all(figure[1].isnan() for figure in (found.drop, found.kept, found.control_drop, found.control_kept))
    with pytest.raises(InputError, match="regions are bool"):
        region_effect(score_of(sums()), IMAGES, constant_filling(IMAGES), regions.float(), Randomness(0))
