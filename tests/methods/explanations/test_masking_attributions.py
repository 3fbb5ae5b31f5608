"""Occlusion and RISE: closed forms on scores that see known pixels, and draws that belong to one image."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.filling import constant_filling
from snellen.methods.explanations.maps import strongest
from snellen.methods.explanations.occlusion import occlusion
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.rise import rise
from snellen.methods.explanations.score import TargetScore

IMAGES = torch.rand(3, 3, 10, 7, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 0])
WEIGHTS = torch.randn(10, 7, generator=torch.Generator().manual_seed(1))


def linear():
    """Score 0 is a weighted sum of pixels, score 1 its double."""

    def model(images):
        value = (images.mean(1) * WEIGHTS).sum((1, 2))
        return torch.stack([value, 2 * value], 1)

    return Classifier(model, class_names=["a", "b"])


def one_pixel(row, column):
    return Classifier(lambda images: images[:, 0, row, column][:, None].expand(-1, 2) * 1.0, class_names=["a", "b"])


def score_of(classifier, targets=TARGETS, **options):
    return TargetScore(classifier, targets, **{"of": "score", **options})


def test_occlusion_of_a_linear_score_is_the_mean_of_what_windows_cover():
    found = occlusion(score_of(linear()), IMAGES, constant_filling(IMAGES, 0.0), window=4, stride=3)
    parts = IMAGES.mean(1) * WEIGHTS * torch.tensor([1.0, 2.0, 1.0]).view(3, 1, 1)
    total, count = torch.zeros(3, 10, 7), torch.zeros(10, 7)
    for top in (0, 3, 6):
        for left in (0, 3):
            window = (slice(top, top + 4), slice(left, left + 4))
            total[:, window[0], window[1]] += parts[:, window[0], window[1]].sum((1, 2))[:, None, None]
            count[window] += 1
    assert bool((count > 0).all())
    assert torch.allclose(found.maps, total / count, atol=1e-5)
    assert found.spent.queries == 3 * (1 + 6)


def test_windows_of_one_pixel_tell_each_pixel():
    found = occlusion(score_of(linear()), IMAGES, constant_filling(IMAGES, 0.0), window=1, stride=1)
    assert torch.allclose(found.maps[0], IMAGES[0].mean(0) * WEIGHTS, atol=1e-5)


def test_a_window_larger_than_the_image_covers_it():
    found = occlusion(score_of(linear()), IMAGES, constant_filling(IMAGES, 0.0), window=20, stride=20)
    assert torch.allclose(found.maps[:, 0, 0].double(), found.value, atol=1e-5)
    assert all(status.startswith("no evidence") for status in found.status)


@pytest.mark.parametrize(("window", "stride"), [(3, 4), (3, 0), (0, 0)])
def test_windows_that_leave_pixels_out_are_refused(window, stride):
    with pytest.raises(InputError, match="at most its side"):
        occlusion(score_of(linear()), IMAGES, constant_filling(IMAGES), window=window, stride=stride)


def test_rise_is_the_mean_of_masks_weighted_by_scores():
    masks = []
    score = score_of(linear(), chunk=16)
    filled = constant_filling(IMAGES, 0.0)

    def watched(rows, kept):
        masks.append((rows, kept))
        return filled(rows, kept)

    found = rise(score, IMAGES, watched, rng=Randomness(0), masks=40, cells=4, keep=0.3)
    rows, kept = (torch.cat(parts) for parts in zip(*masks, strict=True))
    assert kept.shape == (120, 10, 7)
    assert float(kept.min()) >= 0
    assert float(kept.max()) <= 1
    for row in range(3):
        own = kept[rows == row].double()
        scores = score.values(filled(torch.full((40,), row), own.float()), torch.full((40,), row))
        assert torch.allclose(found.maps[row].double(), (scores.view(-1, 1, 1) * own).sum(0) / (0.3 * 40), atol=1e-5)
    assert found.spent.queries == 3 * 41
    assert found.gap.isnan().all()


def test_masks_show_a_pixel_as_often_as_requested_and_are_soft_and_shifted():
    masks = []
    image = torch.ones(1, 3, 16, 16)

    def watched(rows, kept):
        masks.append(kept)
        return constant_filling(image, 0.0)(rows, kept)

    rise(score_of(one_pixel(0, 0), TARGETS[:1]), image, watched, rng=Randomness(0), masks=2000, cells=4, keep=0.3)
    kept = torch.cat(masks)
    assert abs(float(kept.mean()) - 0.3) < 0.01
    assert float((kept.mean(0) - 0.3).abs().max()) < 0.05  # everywhere alike
    assert float(((kept > 0) & (kept < 1)).float().mean()) > 0.2  # soft edges
    assert len(torch.unique(kept.argmax(2)[:, 0])) > 4  # edges lie anywhere, not at multiples of a cell


def test_rise_finds_the_one_pixel_that_is_seen():
    image = torch.ones(1, 3, 16, 16)
    score = score_of(one_pixel(3, 12), TARGETS[:1])
    found = rise(score, image, constant_filling(image, 0.0), rng=Randomness(0), masks=600)
    row, column = strongest(found.maps)[0].tolist()
    assert abs(row - 3) <= 1
    assert abs(column - 12) <= 1


def test_masks_belong_to_an_image_and_not_to_its_batch():
    rng = Randomness(1).for_examples(["a", "b", "c"])

    def maps(some, chunk):
        images = IMAGES[some]
        score = score_of(linear(), TARGETS[some], chunk=chunk)
        return rise(score, images, constant_filling(images), rng=rng[some], masks=30).maps

    whole = maps([0, 1, 2], 64)
    assert torch.allclose(maps([2, 0], 7), whole[[2, 0]], atol=1e-5)
    other = rise(score_of(linear()), IMAGES, constant_filling(IMAGES), rng=Randomness(2).bind(3), masks=30).maps
    assert not torch.allclose(other, whole, atol=1e-3)


def test_a_score_that_breaks_under_a_mask_spoils_its_image_alone():
    def model(images):
        dark = (images.mean((1, 2, 3)) < 0.3) & (images[:, 0, 0, 0] != images[:, 1, 0, 0])
        return torch.where(dark, torch.nan, images.mean((1, 2, 3)))[:, None].expand(-1, 2) * 1.0

    images = torch.ones(2, 3, 8, 8)
    images[0, 1, 0, 0] = 0.9
    classifier = Classifier(model, class_names=["a", "b"])
    found = rise(score_of(classifier, TARGETS[:2]), images, constant_filling(images, 0.0), rng=Randomness(0), masks=60)
    assert [status[:10] for status in found.status] == ["not finite", "ok"]


def test_differences_by_rounding_are_no_evidence():
    generator = torch.Generator().manual_seed(0)

    def model(images):
        noise = 1 + 2e-7 * torch.rand(len(images), generator=generator, dtype=torch.float64)
        return noise[:, None].expand(-1, 2)

    score, filled = score_of(Classifier(model, class_names=["a", "b"])), constant_filling(IMAGES)
    blind = rise(score, IMAGES, filled, rng=Randomness(0), masks=20)
    covered = occlusion(score, IMAGES, filled, window=3, stride=3)
    assert all(status.startswith("no evidence") for status in (*blind.status, *covered.status))
    assert not any(found.maps.any() for found in (blind, covered))


def test_small_scores_are_no_rounding():
    """What is rounding depends on how large the scores are: a class of one in a thousand million has its evidence."""
    score = score_of(Classifier(lambda images: 1e-9 * images.mean((2, 3)), class_names=["a", "b", "c"]))
    filled = constant_filling(IMAGES, 0.0)
    for found in (
        rise(score, IMAGES, filled, rng=Randomness(0), masks=20),
        occlusion(score, IMAGES, filled, window=3, stride=3),
        partition_shap(score, IMAGES, filled, budget=20),
    ):
        assert set(found.status) == {"ok"}


@pytest.mark.parametrize("wrong", [{"masks": 0}, {"cells": 0}, {"keep": 0.0}, {"keep": 1.0}])
def test_masks_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="keep between 0 and 1"):
        rise(score_of(linear()), IMAGES, constant_filling(IMAGES), rng=Randomness(0), **wrong)
