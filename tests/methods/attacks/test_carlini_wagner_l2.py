"""Carlini and Wagner in L2: oracle on a linear model, a trained model, a loop written out by hand."""

import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.criterion import Margin, Misclassified, MultilabelChanged, Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.eight_bits import rounded_success
from snellen.testing.conformance import small_problem

FAST = {"steps": 40, "searches": 3, "first_weight": 0.3}


def linear_problem(count=24, classes=2, low=0.3):
    """A linear model: the nearest boundary is |margin| / ‖w_own − w_other‖ away."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, classes))
    model[1].weight.data = torch.randn(classes, 48, generator=generator) * 0.3
    images = low + (1 - 2 * low) * torch.rand(count, 3, 4, 4, generator=generator)
    model[1].bias.data = -(images.flatten(1) @ model[1].weight.T).mean(0)
    classifier = Classifier(model, class_names=[str(i) for i in range(classes)])
    scores = classifier(images)
    labels = scores.argmax(1)
    weight = model[1].weight.data
    between = (weight[labels][:, None] - weight[None]).norm(dim=2)
    gaps = scores.gather(1, labels[:, None]) - scores
    nearest = torch.where(between > 0, gaps / between.clamp(min=1e-9), torch.inf).amin(1)
    return classifier, images, labels, nearest


def test_is_within_two_per_cent_of_the_smallest_change_of_a_linear_model():
    classifier, images, labels, nearest = linear_problem()
    attacked = CarliniWagnerL2(steps=150, searches=6, first_weight=0.1).attack(classifier, images, labels)
    assert attacked.success.all()
    assert (attacked.distance >= nearest * (1 - 1e-4)).all()
    # Below that, Adam's first step alone, 0.005 in each of 48 values, is longer than what is looked for.
    far = nearest > 0.05
    assert far.sum() > 10
    assert (attacked.distance <= nearest * 1.02)[far].all(), float((attacked.distance / nearest)[far].max())


def test_finds_the_nearest_of_several_boundaries_for_most_images():
    classifier, images, labels, nearest = linear_problem(classes=5, count=16)
    attacked = CarliniWagnerL2(steps=100, searches=5, first_weight=0.1).attack(classifier, images, labels)
    assert attacked.success.all()
    assert (attacked.distance >= nearest * (1 - 1e-4)).all()
    assert (attacked.distance / nearest).median() < 1.02


def test_early_abort_and_warm_starts_cost_less_and_find_no_less():
    classifier, images, labels, nearest = linear_problem(count=12)
    plain, aborting, warm = (
        CarliniWagnerL2(steps=100, searches=4, first_weight=0.1, **options).attack(classifier, images, labels)
        for options in ({"abort_early": False}, {}, {"warm_start": True})
    )
    assert plain.queries.tolist() == [1 + 4 * 101] * 12
    assert aborting.spent.gradients * 1.5 < plain.spent.gradients
    for attacked in (aborting, warm):
        assert attacked.success.all()
        assert (attacked.distance <= plain.distance * 1.1)[nearest > 0.05].all()


def test_one_search_equals_a_loop_written_out_by_hand():
    classifier, images, labels = small_problem(count=8)
    weight, steps = 0.5, 40
    start = ((2 * images - 1) * (1 - 1e-6)).atanh()
    variable = start.clone().requires_grad_(True)
    centre = (start.tanh() + 1) / 2
    optimiser = torch.optim.Adam([variable], lr=0.01)
    nearest = torch.full((8,), torch.inf)
    for _ in range(steps + 1):
        candidates = (variable.tanh() + 1) / 2
        scores = classifier(candidates)
        own = scores.gather(1, labels[:, None])[:, 0]
        other = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
        met = scores.argmax(1) != labels
        distance = (candidates - images).detach().flatten(1).norm(dim=1)
        nearest = torch.where(met & (distance < nearest), distance, nearest)
        loss = (candidates - centre).square().sum() + weight * (own - other).clamp(min=0).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    attacked = CarliniWagnerL2(
        steps=steps, searches=1, first_weight=weight, abort_early=False, last_resort=False
    ).attack(classifier, images, labels)
    assert torch.equal(attacked.success, nearest.isfinite())
    assert attacked.success.any()
    assert (attacked.distance - nearest)[attacked.success].abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_at_0_and_1_are_no_trouble(dtype):
    classifier, images, labels = small_problem(count=6)
    classifier.module.to(dtype)
    images[:, :, :4] = images[:, :, :4].round()
    images = images.to(dtype)
    labels = classifier(images).argmax(1)
    attacked = CarliniWagnerL2(**FAST).attack(classifier, images, labels)
    assert attacked.images.dtype == dtype
    assert attacked.images.isfinite().all()
    assert attacked.success.all()


def test_a_failure_returns_the_clean_image():
    class Stubborn(nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1)
            return torch.stack([mean + 10, mean], 1)

    classifier = Classifier(Stubborn(), class_names=["a", "b"])
    images = torch.rand(3, 3, 4, 4)
    attacked = CarliniWagnerL2(steps=10, searches=2).attack(classifier, images, torch.tensor([0, 0, 1]))
    assert attacked.status == ("not found", "not found", "already")
    assert torch.equal(attacked.images, images)
    assert not attacked.distance.any()
    # The last resort is one search more, for those that nothing was found for.
    once = CarliniWagnerL2(steps=10, searches=2, last_resort=False).attack(classifier, images, torch.tensor([0, 0, 1]))
    assert (attacked.queries > once.queries).tolist() == [True, True, False]


def test_a_flat_model_is_distinguished_from_a_robust_one():
    class Flat(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :2] * 0 + torch.tensor([2.0, 0.0])

    attacked = CarliniWagnerL2(steps=5, searches=2).attack(
        Classifier(Flat(), class_names=["a", "b"]), torch.rand(2, 3, 4, 4), torch.tensor([0, 0])
    )
    assert attacked.zero_gradient.all()


def test_targeted_reaches_the_target_and_confidence_its_lead():
    classifier, images, labels = small_problem(count=10)
    targets = (labels + 1) % 5
    attacked = CarliniWagnerL2(**FAST).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.all()
    assert torch.equal(classifier(attacked.images).argmax(1), targets)
    near = CarliniWagnerL2(**FAST).attack(classifier, images, labels)
    for attack, criterion in ((CarliniWagnerL2(**FAST, confidence=0.2), None), (CarliniWagnerL2(**FAST), Margin(0.2))):
        far = attack.attack(classifier, images, labels, criterion=criterion)
        scores = classifier(far.images)
        lead = scores.scatter(1, labels[:, None], -torch.inf).amax(1) - scores.gather(1, labels[:, None])[:, 0]
        assert (lead[far.success] >= 0.2 - 1e-5).all()
        assert far.success.any()
        assert (far.distance > near.distance)[far.success].all()


def test_multilabel_decisions_flip():
    classifier, images, _ = small_problem(count=8)
    many = Classifier(classifier.module, class_names=list("abcde"), task="multilabel")
    labels = (many(images) > 0).long()
    nearest = CarliniWagnerL2(**FAST).attack(many, images, labels, criterion=MultilabelChanged())
    two = CarliniWagnerL2(**FAST).attack(many, images, labels, criterion=MultilabelChanged(flips=2))
    assert nearest.success.all()
    assert two.success.all()
    assert (((many(two.images) > 0).long() != labels).sum(1) >= 2).all()
    assert (two.distance >= nearest.distance).all()


def test_breaks_a_trained_model_and_rounding_to_bytes_is_reported():
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    examples = snellen.load_images("bundled:fashion-mnist").limit(4)
    images = torch.stack([classifier.prepare(example.image) for example in examples])
    labels = classifier(images).argmax(1)
    attacked = CarliniWagnerL2(steps=60, searches=2, first_weight=10.0).attack(classifier, images, labels)
    assert attacked.success.all()
    survived = rounded_success(classifier, attacked, labels)
    assert (survived <= attacked.success).all()


def test_same_bits_again_and_in_any_batch():
    classifier, images, labels = small_problem(count=6)
    rng = Randomness(0).bind(6)
    whole = CarliniWagnerL2(**FAST).attack(classifier, images, labels, rng=rng)
    assert torch.equal(CarliniWagnerL2(**FAST).attack(classifier, images, labels, rng=rng).images, whole.images)
    for i in range(0, 6, 2):
        alone = CarliniWagnerL2(**FAST).attack(classifier, images[[i]], labels[[i]], rng=rng[[i]])
        assert torch.allclose(alone.images[0], whole.images[i], atol=1e-5)
        assert int(alone.queries) == int(whole.queries[i])


def test_no_images_no_work():
    classifier, images, labels = small_problem()
    attacked = CarliniWagnerL2(**FAST).attack(classifier, images[:0], labels[:0])
    assert attacked.status == ()


def test_what_it_cannot_attack_is_refused_with_a_way_out():
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    soft = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Softmax(1)), class_names=["a", "b"], name="soft")
    with pytest.raises(InputError, match="soft gives probabilities, and carlini_wagner_l2 works on logits"):
        CarliniWagnerL2().attack(soft, images, labels)
    told = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"], output="labels")
    with pytest.raises(
        UnsupportedError, match="needs scores, and classifier gives none; hop_skip_jump attacks by decisions alone"
    ):
        CarliniWagnerL2().attack(told, images, labels)
    blind = Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"], name="blind")
    with pytest.raises(UnsupportedError, match="needs gradients, and blind gives none"):
        CarliniWagnerL2().attack(blind, images, blind(images).argmax(1), criterion=Misclassified())
    for wrong in ({"steps": 0}, {"confidence": -1}, {"learning_rate": 0}, {"c": 1}):
        with pytest.raises(InputError):
            CarliniWagnerL2(**wrong)
