"""Scans that score images: planted images score higher, the planted class stands out, a clean set shows nothing."""

import math

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.truth import planted_of
from snellen.methods.scans import scored_images, superposition
from snellen.methods.scans.cognitive_distillation import CognitiveDistillation, distilled_masks
from snellen.methods.scans.superposition import Strip, certainty
from snellen.metrics.inspection.high_shares import high_shares, suspicious
from tests.systems.smooth_inversion.toy_models import NAMES
from tests.systems.trigger_amplification.poisoned_quadrants import classifier, exact, image_set, poisoned, quadrants

#: A small network that is unsure leans to the target; superpositions make it unsure, so STRIP has one by arithmetic.
MODELS = {"strip": exact, "masks": classifier}
SCANS = {"strip": Strip(overlays=16, pictures=3), "masks": CognitiveDistillation(steps=40, pictures=3)}


@pytest.fixture(scope="module")
def found():
    images, choice, _ = poisoned()
    few = images.select(np.arange(400))
    return {
        name: (scan.scan(few, classifier=MODELS[name](), rng=Randomness(0)), choice.mask[:400])
        for name, scan in SCANS.items()
    }


@pytest.mark.parametrize("name", SCANS)
def test_planted_images_score_higher(found, name):
    scanned, hit = found[name]
    assert scanned.figures["auroc"] > 0.85
    assert scanned.figures["images"] == 400
    rows = scanned.evidence.table.to_pylist()
    values = np.array([row["value"] for row in rows])
    assert values[hit].mean() > values[~hit].mean()
    assert len(scanned.pictures) == 3


@pytest.mark.parametrize("name", SCANS)
def test_the_planted_class_stands_out_and_its_images_are_named(found, name):
    scanned, hit = found[name]
    assert scanned.verdict.startswith("suspicious: class 'one'")
    named = np.array([row["reason"] == "suspect" for row in scanned.evidence.table.to_pylist()])
    assert named[hit].mean() > 0.5
    assert named[~hit].mean() < 0.1


@pytest.mark.parametrize("name", SCANS)
def test_a_clean_set_shows_nothing_and_is_not_called_clean(name):
    images = image_set(*quadrants(400))
    scanned = SCANS[name].scan(images, classifier=classifier(False), rng=Randomness(0))
    assert "does not show that the images are free of poison" in scanned.verdict
    assert "auroc" not in scanned.figures
    assert not any(row["reason"] == "suspect" for row in scanned.evidence.table.to_pylist())


def test_the_truth_is_read_once_and_not_for_each_image(monkeypatch):
    calls = []
    monkeypatch.setattr(scored_images, "planted_of", lambda *given: calls.append(1) or planted_of(*given))
    images, _, _ = poisoned()
    scanned = Strip(overlays=1, pictures=0).scan(images.select(np.arange(60)), classifier=exact(), rng=Randomness(0))
    assert "auroc" in scanned.figures
    assert len(calls) == 1


def test_an_image_is_not_laid_over_itself_and_the_overlays_are_listed_once(monkeypatch):
    prepared, seen = Strip.prepared, []
    monkeypatch.setattr(Strip, "prepared", lambda self, *given: seen.append(prepared(self, *given)) or seen[-1])
    laid = []
    monkeypatch.setattr(
        superposition, "certainty", lambda *given, **_: laid.append(given) or torch.zeros(len(given[1]))
    )
    images = image_set(*quadrants(30))
    Strip(overlays=40, batch_size=10).scan(images, classifier=exact(), rng=Randomness(0))
    assert len(seen) == 1
    assert {id(given[2]) for given in laid} == {id(seen[0].images)}
    assert len(laid) == 3
    for _, pixels, pool, chosen in laid:
        assert not (pool[chosen] == pixels[:, None]).flatten(2).all(2).any()


def test_certainty_is_the_entropy_that_superpositions_lack():
    table = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    model = Classifier(lambda images: table[(images.mean((1, 2, 3)) > 0.5).long()], class_names=["a", "b"])
    dark, bright = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    overlays = torch.cat([dark, bright * 0.9])
    shown = torch.cat([dark, bright])
    scores = certainty(model, shown, overlays, torch.tensor([[0, 1], [0, 1]]), weight=0.5)

    def entropy(logits):
        shares = torch.softmax(logits.double(), 0)
        return float(-(shares * shares.log()).sum())

    # Dark with either stays dark; bright is on the edge with dark (0.5 is not above) and bright with bright.
    wanted = [math.log(2) - entropy(table[0]), math.log(2) - (entropy(table[0]) + entropy(table[1])) / 2]
    assert scores.tolist() == pytest.approx(wanted)
    with pytest.raises(InputError, match="do not fit"):
        certainty(model, shown, overlays[..., :2], torch.tensor([[0], [0]]))


def test_a_mask_keeps_what_decides_and_each_image_has_its_own():
    """Only the left half decides: the mask stays there."""
    model = Classifier(
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((1, 2)), torch.nn.Flatten(), _Left()), class_names=["a", "b"]
    )
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = Randomness(0).for_examples(["x", "y", "z"])
    masks = distilled_masks(model, images, steps=60, rng=rng)
    assert masks.shape == (3, 1, 8, 8)
    assert float(masks[..., :4].mean()) > float(masks[..., 4:].mean()) + 0.3
    alone = distilled_masks(model, images[1:2], steps=60, rng=Randomness(0).for_examples(["y"]))
    torch.testing.assert_close(alone[0], masks[1], rtol=1e-4, atol=1e-4)


class _Left(torch.nn.Module):
    def forward(self, pooled):
        left = pooled[:, ::2].sum(1, keepdim=True) * 20
        return torch.cat([left, -left], 1)


def test_a_class_is_compared_with_the_others():
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 60)
    scores = draws.normal(size=360)
    assert suspicious(high_shares(scores, labels), rate=0.05, outlier=3.0) == ()
    scores[labels == 4] += np.where(np.arange(60) < 20, 8, 0)
    found = high_shares(scores, labels)
    assert suspicious(found, rate=0.05, outlier=3.0) == (4,)
    assert found[4].share == pytest.approx(20 / 60, abs=0.06)
    assert found[4].low < found[4].share
    assert high_shares(scores[:60], labels[:60]) == {}, "a single class is not judged"
    assert 5 not in high_shares(scores[:-50], labels[:-50]), "nor one of ten images"
    with pytest.raises(InputError, match="finite scores"):
        high_shares(np.array([np.nan]), np.array([0]))


def test_few_images_and_a_classifier_without_what_is_needed():
    images = image_set(*quadrants(8))
    scanned = SCANS["strip"].scan(images, classifier=classifier(), rng=Randomness(0))
    assert scanned.verdict == "nothing could be judged: no two classes have 20 images each"
    assert scanned.statistic is None
    callable_only = Classifier(lambda shown: shown.flatten(1)[:, :4], class_names=NAMES, name="plain")
    with pytest.raises(InputError, match="needs gradients, and plain gives none"):
        SCANS["masks"].scan(images, classifier=callable_only, rng=Randomness(0))
    with pytest.raises(InputError, match="name it before the images"):
        SCANS["strip"].scan(images, rng=Randomness(0))
    with pytest.raises(InputError, match="fewer than two"):
        SCANS["strip"].scan(images.select([0]), classifier=classifier(), rng=Randomness(0))


def test_labels_that_are_not_known_are_replaced_by_decisions():
    images, choice, _ = poisoned()
    few = images.select(np.arange(400)).unlabelled()
    scanned = SCANS["strip"].scan(few, classifier=exact(), rng=Randomness(0))
    assert scanned.verdict.startswith("suspicious: class 'one'")
    assert all(row["label"] is None for row in scanned.evidence.table.to_pylist())
    assert choice.mask[:400].any()
