"""SmoothInv on classifiers whose answer is known: a plane, and a plane with a detector of a pattern."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import cross_entropy, on_scores, perturb
from snellen.systems.smooth_inversion.fidelity import energy_inside
from snellen.systems.smooth_inversion.inversion import Search, invert
from snellen.systems.smooth_inversion.steps import BoxThenBall, MomentumStep
from tests.systems.smooth_inversion.toy_models import TARGET, classifier, pixels, region

SHORT = Search(epsilon=1.5, sigma=0.25, samples=8, steps=30, rate=0.1, sure=None)


class Plane(nn.Module):
    """Class 1 on one side of a plane."""

    def __init__(self, weight, offset=0.0):
        super().__init__()
        self.weight, self.offset = nn.Parameter(weight), offset

    def forward(self, images):
        value = (images * self.weight).flatten(1).sum(1) - self.offset
        return torch.stack([-value, value], 1)


def of(module, names=("no", "yes")):
    return Classifier(module, class_names=names)


def wanted(count, target=TARGET):
    return torch.full((count,), target, dtype=torch.int64)


@pytest.mark.smoke
def test_on_a_plane_the_change_is_epsilon_along_its_normal():
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.full((2, 3, 4, 4), 0.5)
    search = replace(SHORT, epsilon=0.4, steps=60)
    found = invert(of(Plane(weight, 20.0)), images, wanted(2, 1), search, rng=Randomness(0))
    for change in found.changes:
        assert float(change.norm()) == pytest.approx(0.4, abs=1e-5)
        cosine = torch.nn.functional.cosine_similarity(change.flatten(), weight.flatten(), dim=0)
        assert float(cosine) > 0.999


@pytest.mark.covers("33.1")
def test_without_noise_and_with_one_copy_it_is_a_plain_targeted_attack():
    model = classifier()
    images, labels = pixels(6)
    chosen = images[labels != TARGET][:3]
    search = replace(SHORT, sigma=0.0, samples=1, steps=12)
    ours = invert(model, chosen, wanted(3), search, rng=Randomness(0)).changes
    plain = perturb(
        model, chosen, wanted(3), evaluate=on_scores(model, cross_entropy), projection=BoxThenBall(1.5),
        step_rule=MomentumStep(0.15), criterion=Targeted(), steps=12, rng=Randomness(0), keep="last",
    ).images  # fmt: skip
    assert torch.allclose(ours, plain - chosen, atol=1e-5)
    assert float(ours.norm()) > 1


@pytest.mark.covers("33.1")
def test_noise_is_new_at_every_step_and_probabilities_are_averaged():
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, images):
            self.seen.append(images.detach().clone())
            value = 40 * (images.flatten(1).mean(1) - 0.5)
            return torch.stack([-value, value], 1)

    watched = Watched()
    image = torch.full((1, 3, 4, 4), 0.5)
    search = Search(epsilon=1e-6, sigma=0.3, samples=4, steps=3, sure=None)
    found = invert(of(watched), image, wanted(1, 1), search, rng=Randomness(0))
    looks = [seen for seen in watched.seen if len(seen) == 4]
    assert len(looks) == 4  # three steps and a last look
    assert not any(torch.allclose(one, other, atol=1e-3) for one, other in pairwise(looks))
    noise = torch.cat(looks) - 0.5
    assert float(noise.std()) == pytest.approx(0.3, rel=0.15)
    assert float(noise.abs().max()) > 0.5  # noisy images are not cut
    for row, look in enumerate(looks):
        value = 40 * (look.flatten(1).mean(1) - 0.5)
        mean = torch.stack([-value, value], 1).softmax(1)[:, 1].mean()
        assert float(found.history[row, 0]) == pytest.approx(float(mean), abs=1e-5)


@pytest.mark.covers("33.2")
def test_where_the_probability_underflows_nothing_is_infinite():
    hopeless = of(Plane(torch.ones(3, 4, 4), 4e4))
    images = torch.full((1, 3, 4, 4), 0.5)
    found = invert(hopeless, images, wanted(1, 1), replace(SHORT, steps=3), rng=Randomness(0))
    assert found.probability.tolist() == pytest.approx([1e-20])
    assert found.changes.abs().sum() == 0
    assert found.zero_gradients.tolist() == [True]
    hard = of(Plane(torch.ones(3, 4, 4), 24 + 20.0))
    small = invert(hard, images, wanted(1, 1), replace(SHORT, steps=3), rng=Randomness(0))
    assert float(small.history[0, 0]) < 1e-10
    assert torch.isfinite(small.changes).all()
    assert float(small.changes.norm()) > 0


@pytest.mark.covers("33.12")
def test_noise_shows_the_pattern_that_the_plain_gradient_does_not_see():
    model = classifier()
    images, labels = pixels(12)
    chosen = images[labels != TARGET][:6]
    inside = {}
    for sigma, samples in ((0.0, 1), (0.25, 8)):
        search = replace(SHORT, sigma=sigma, samples=samples)
        changes = invert(model, chosen, wanted(6), search, rng=Randomness(0)).changes
        inside[sigma] = float(energy_inside(changes, region()).mean())
    # The pattern covers 14 % of the image.
    assert inside[0.0] < 0.3
    assert inside[0.25] > 0.6


@pytest.mark.covers("33.5")
def test_changes_stay_in_ball_and_box_and_a_batch_is_its_images_one_by_one():
    model = classifier()
    images, labels = pixels(12)
    chosen, targets = images[labels == 1], torch.tensor([0, 2, 3])
    rng = Randomness(4).for_examples(["a", "b", "c"])
    whole = invert(model, chosen, targets, SHORT, rng=rng)
    assert float(whole.changes.flatten(1).norm(dim=1).max()) <= 1.5 + 1e-5
    assert -1e-6 <= float((chosen + whole.changes).min()) <= float((chosen + whole.changes).max()) <= 1 + 1e-6
    for row in range(3):
        alone = invert(model, chosen[[row]], targets[[row]], SHORT, rng=rng[[row]])
        assert torch.allclose(alone.changes[0], whole.changes[row], atol=1e-4)
    other = invert(model, chosen, targets, SHORT, rng=Randomness(5).for_examples(["a", "b", "c"]))
    assert not torch.allclose(other.changes, whole.changes, atol=2e-3)
    few = replace(SHORT, steps=2)
    parts, at_once = (invert(model, chosen, targets, few, rng=rng, chunk=size).changes for size in (4, 500))
    assert torch.allclose(parts, at_once, atol=1e-5)


def test_a_sure_search_ends_early_and_keeps_what_it_had():
    model = classifier()
    images, labels = pixels(4)
    search = replace(SHORT, steps=60, sure=0.9, patience=3)
    found = invert(model, images[labels == 1][:1], wanted(1), search, rng=Randomness(0))
    taken = int(found.steps[0])
    assert 3 <= taken < 60
    told = found.history[: taken + 1, 0]
    assert bool((told[-3:] > 0.9).all())
    assert not bool((told[-4:-1] > 0.9).all())
    assert float(found.probability[0]) == pytest.approx(float(told[-1]))
    assert float(found.changes.norm()) > 0


@pytest.mark.covers("33.11")
def test_weights_get_no_gradient_and_a_network_in_training_is_refused():
    model = classifier()
    images, labels = pixels(4)
    invert(model, images[labels == 1], wanted(1), replace(SHORT, steps=2), rng=Randomness(0))
    assert model.module.strength.grad is None
    assert not model.module.strength.requires_grad
    model.module.train()
    with pytest.raises(InputError, match="training mode"):
        invert(model, images[:1], wanted(1), SHORT, rng=Randomness(0))


@pytest.mark.covers("33.10")
def test_the_gradient_goes_through_the_denoiser():
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(3))
    images = torch.full((1, 3, 4, 4), 0.5)
    shown = torch.zeros(3, 4, 4)
    shown[:, :2] = 1.0
    search = replace(SHORT, epsilon=0.3)
    found = invert(
        of(Plane(weight, 20.0)), images, wanted(1, 1), search, rng=Randomness(0), denoise=lambda x: x * shown
    )
    assert found.changes[0, :, 2:].abs().sum() == 0
    cosine = torch.nn.functional.cosine_similarity(found.changes[0, :, :2].flatten(), weight[:, :2].flatten(), dim=0)
    assert float(cosine) > 0.99
    with pytest.raises(InputError, match="nothing to denoise"):
        invert(
            of(Plane(weight)), images, wanted(1, 1), replace(search, sigma=0.0), rng=Randomness(0), denoise=lambda x: x
        )


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": float("inf")}, {"sigma": -0.1}, {"samples": 0}, {"steps": 0}]
)
def test_searches_that_are_none_are_refused(wrong):
    with pytest.raises(InputError):
        Search(**wrong)


def test_images_outside_the_box_are_refused():
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        invert(classifier(), torch.full((1, 3, 8, 8), 1.5), wanted(1), SHORT, rng=Randomness(0))
