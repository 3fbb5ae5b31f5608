"""Gradients, integrated gradients and SmoothGrad: closed forms, completeness, and independence of batches."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import NO_EVIDENCE, NOT_FINITE
from snellen.methods.explanations.gradient import gradient, magnitude
from snellen.methods.explanations.integrated_gradients import integrated_gradients
from snellen.methods.explanations.score import TargetScore
from snellen.methods.explanations.smooth_grad import smooth_grad
from tests.tiny_network import NAMES, make_network

IMAGES = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2, 1, 0])
STD = (0.2, 0.25, 0.5)


def network():
    return Classifier(make_network(), class_names=NAMES, normalization=Normalization((0.4, 0.5, 0.6), STD))


class Quadratic(nn.Module):
    """Score k of an image x is xᵀ A_k x: its gradient is linear, so that one Gauss-Legendre point integrates it."""

    def __init__(self):
        super().__init__()
        matrices = torch.randn(2, 48, 48, generator=torch.Generator().manual_seed(1)) / 10
        self.matrices = nn.Parameter(matrices + matrices.transpose(1, 2))

    def forward(self, images):
        flat = images.flatten(1)
        return torch.einsum("ni,kij,nj->nk", flat, self.matrices, flat)


def quadratic():
    return Classifier(Quadratic(), class_names=["a", "b"])


def score_of(classifier, targets=TARGETS, **options):
    return TargetScore(classifier, targets, **{"of": "score", **options})


def test_differences_by_rounding_are_no_evidence():
    """A baseline that is the image but for its last digits; the second image has more than that."""
    images = torch.full((2, 3, 4, 4), 0.2)
    images[1, :, 0, 0] = 0.9
    baseline = torch.full_like(images, 0.2) + 3e-8 * torch.arange(4.0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        model[1].weight.fill_(0.1)
        model[1].bias.fill_(0.0)
    score = score_of(Classifier(model, class_names=["a", "b"]), torch.tensor([0, 0]))
    found = integrated_gradients(score, images, baseline=baseline)
    assert found.status == (NO_EVIDENCE, "ok")
    assert not found.maps[0].any()
    assert found.gap.abs().max() < 1e-5


def test_the_gradient_of_a_linear_model_is_its_weights_over_the_deviation():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    classifier = Classifier(model, class_names=NAMES, normalization=Normalization((0.4, 0.5, 0.6), STD))
    found = gradient(score_of(classifier), IMAGES)
    weights = model[1].weight.detach().view(3, 3, 4, 4) / torch.tensor(STD).view(1, 3, 1, 1)
    assert torch.allclose(found.maps, weights[TARGETS], atol=1e-6)
    assert torch.allclose(found.value, classifier(IMAGES)[torch.arange(4), TARGETS].double())
    assert found.gap.isnan().all()
    assert (found.spent.queries, found.spent.gradients) == (4, 4)
    assert torch.equal(magnitude(found.maps), found.maps.abs().max(1).values)


def test_integrated_gradients_of_a_quadratic_score():
    classifier, targets = quadratic(), torch.tensor([0, 1, 1, 0])
    baseline = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    found = integrated_gradients(score_of(classifier, targets), IMAGES, baseline=baseline, steps=1)
    sums = (IMAGES + baseline).flatten(1)
    slopes = torch.einsum("nij,nj->ni", classifier.module.matrices[targets], sums).view_as(IMAGES)
    assert torch.allclose(found.maps, (IMAGES - baseline) * slopes, atol=1e-4)
    assert found.gap.abs().max() < 1e-4
    assert torch.allclose(found.base, score_of(classifier, targets).of_images(baseline))


def test_the_gap_is_measured_and_falls_with_steps():
    torch.manual_seed(0)
    classifier = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3)), class_names=NAMES
    )
    with torch.no_grad():
        classifier.module[1].weight.mul_(4)
    score, baseline = score_of(classifier), torch.zeros_like(IMAGES)
    gaps = {}
    for rule, steps in (("midpoint", 2), ("midpoint", 40), ("gauss-legendre", 2), ("gauss-legendre", 40)):
        found = integrated_gradients(score, IMAGES, baseline=baseline, steps=steps, rule=rule)
        total = found.maps.double().flatten(1).sum(1)
        assert torch.allclose(found.gap, total - (found.value - found.base), atol=1e-5)
        gaps[rule, steps] = float(found.gap.abs().max())
    assert gaps["gauss-legendre", 40] < 1e-5
    assert gaps["midpoint", 40] < gaps["midpoint", 2] / 50  # the error of the midpoint rule falls with steps squared
    assert gaps["gauss-legendre", 2] > 1e-4


def test_smooth_gradients_of_a_linear_model_are_its_gradients():
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), class_names=NAMES)
    plain = gradient(score_of(classifier), IMAGES).maps
    smooth = smooth_grad(score_of(classifier), IMAGES, rng=Randomness(0), sigma=0.3, samples=5)
    assert torch.allclose(smooth.maps, plain, atol=1e-6)
    assert smooth.spent.gradients == 20


def test_smooth_gradients_are_means_over_noise_cut_to_the_range():
    seen = []

    class Watched(Quadratic):
        def forward(self, images):
            seen.append(images.detach())
            return super().forward(images)

    classifier = Classifier(Watched(), class_names=["a", "b"])
    score = score_of(classifier, torch.tensor([1]), chunk=4)
    found = smooth_grad(score, IMAGES[:1], rng=Randomness(0), sigma=0.4, samples=6)
    noisy = torch.cat(seen[1:])
    assert noisy.shape == (6, 3, 4, 4)
    assert float(noisy.min()) == 0.0
    assert float(noisy.max()) == 1.0
    slopes = 2 * torch.einsum("ij,nj->ni", classifier.module.matrices[1], noisy.flatten(1))
    assert torch.allclose(found.maps[0].flatten(), slopes.mean(0), atol=1e-5)


def integrated(score, images, rng):
    return integrated_gradients(score, images, baseline=torch.zeros_like(images), steps=7).maps


def smoothed(score, images, rng):
    return smooth_grad(score, images, rng=rng, samples=5).maps


@pytest.mark.parametrize("attribute", [integrated, smoothed, lambda score, images, rng: gradient(score, images).maps])
def test_neither_chunk_nor_neighbours_nor_order_change_a_map(attribute):
    classifier, rng = network(), Randomness(1).for_examples(["a", "b", "c", "d"])
    whole = attribute(score_of(classifier), IMAGES, rng)
    for chunk in (1, 3, 1000):
        assert torch.allclose(attribute(score_of(classifier, chunk=chunk), IMAGES, rng), whole, atol=1e-5)
    some = [3, 1]
    alone = attribute(score_of(classifier, TARGETS[some]), IMAGES[some], rng[some])
    assert torch.allclose(alone, whole[some], atol=1e-5)


def test_probabilities_add_up_too():
    found = integrated_gradients(
        score_of(network(), of="probability"), IMAGES, baseline=torch.full_like(IMAGES, 0.5), steps=60
    )
    assert found.gap.abs().max() < 1e-3
    assert float(found.value.max()) <= 1


def test_statuses():
    class Odd(nn.Module):
        def forward(self, images):
            value = images.flatten(1).square().sum(1) * (images[:, 0, 0, 0] != 0.25)
            return torch.stack([torch.where(images[:, 0, 0, 0] == 0.5, torch.nan, value), value], 1)

    images = IMAGES[:3].clone()
    images[1, 0, 0, 0], images[2, 0, 0, 0] = 0.25, 0.5
    found = gradient(score_of(Classifier(Odd(), class_names=["a", "b"]), torch.zeros(3, dtype=torch.int64)), images)
    assert found.status == ("ok", NO_EVIDENCE, NOT_FINITE)
    assert found.maps[2].isnan().all()


def test_refusals():
    black_box = Classifier(lambda images: images.flatten(1)[:, :3], class_names=NAMES, name="box")
    with pytest.raises(UnsupportedError, match="box gives no gradients; occlusion, RISE"):
        gradient(score_of(black_box), IMAGES)
    with pytest.raises(InputError, match="at least one step"):
        integrated_gradients(score_of(network()), IMAGES, baseline=torch.zeros_like(IMAGES), steps=0)
    with pytest.raises(InputError, match="a baseline for each image"):
        integrated_gradients(score_of(network()), IMAGES, baseline=torch.zeros(1, 3, 4, 4))
    for wrong in ({"sigma": 0.0}, {"samples": 0}, {"sigma": float("nan")}):
        with pytest.raises(InputError, match="sigma above 0"):
            smooth_grad(score_of(network()), IMAGES, rng=Randomness(0), **wrong)


def test_no_images_give_no_maps():
    score, none = score_of(network(), TARGETS[:0]), IMAGES[:0]
    assert len(gradient(score, none).maps) == 0
    assert len(integrated_gradients(score, none, baseline=none).maps) == 0
    assert len(smooth_grad(score, none, rng=Randomness(0)).maps) == 0
