"""The perturbation loop against a loop written out by hand, and its promises about what is returned."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Margin, Misclassified, Targeted
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import (
    L2Ball,
    LinfBall,
    NormalizedStep,
    PixelSpace,
    SignStep,
    TanhSpace,
    cross_entropy,
    negative_margin,
    on_scores,
    perturb,
)
from snellen.testing.conformance import small_problem


def written_out(classifier, images, labels, *, norm, epsilon, size, steps, start, direction=1):
    """PGD as the paper writes it, no bookkeeping: every iterate of every image."""
    x = start.clone()
    iterates = [x]
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        loss = direction * F.cross_entropy(classifier(x), labels, reduction="sum")
        (g,) = torch.autograd.grad(loss, x)
        if norm == "linf":
            x = x.detach() + size * g.sign()
            x = torch.max(torch.min(x, images + epsilon), images - epsilon)
        else:
            x = x.detach() + size * g / g.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
            d = x - images
            x = images + d * (epsilon / d.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1).view(-1, 1, 1, 1)
        x = x.clamp(0, 1)
        iterates.append(x)
    return iterates


def parts(norm, epsilon, size):
    return (LinfBall(epsilon), SignStep(size)) if norm == "linf" else (L2Ball(epsilon), NormalizedStep(size))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("targeted", [False, True])
def test_last_iterate_equals_a_written_out_loop(norm, random_start, targeted):
    classifier, images, labels = small_problem()
    epsilon, size = (0.01, 0.0025) if norm == "linf" else (0.1, 0.03)
    if targeted:
        labels = (labels + 1) % 5
    projection, step_rule = parts(norm, epsilon, size)
    rng = Randomness(3).for_examples([str(i) for i in range(len(images))])
    start = projection.sample(images, rng.child("restart", 0)) if random_start else images
    criterion = Targeted() if targeted else Misclassified()
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=projection,
        step_rule=step_rule, criterion=criterion, steps=7, rng=rng, random_start=random_start, keep="last",
    )  # fmt: skip
    plain = written_out(
        classifier, images, labels, norm=norm, epsilon=epsilon, size=size, steps=7, start=start,
        direction=-1 if targeted else 1,
    )[-1]  # fmt: skip
    assert (attacked.images - plain).abs().max() <= 1e-6
    assert torch.equal(attacked.success, criterion.success(classifier(plain), labels))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_first_success_is_the_first_successful_iterate_of_the_written_out_loop(norm):
    classifier, images, labels = small_problem(count=24)
    epsilon, size = (0.01, 0.0025) if norm == "linf" else (0.1, 0.03)
    projection, step_rule = parts(norm, epsilon, size)
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=projection,
        step_rule=step_rule, criterion=Misclassified(), steps=7, rng=Randomness(0),
    )  # fmt: skip
    iterates = written_out(classifier, images, labels, norm=norm, epsilon=epsilon, size=size, steps=7, start=images)
    found = 0
    for i in range(len(images)):
        hits = [x[i] for x in iterates if int(classifier(x[i : i + 1]).argmax()) != int(labels[i])]
        assert bool(attacked.success[i]) == bool(hits)
        assert (attacked.images[i] - (hits[0] if hits else images[i])).abs().max() <= 1e-6
        found += bool(hits)
    assert 0 < found < len(images), "the problem must have both outcomes, or this test proves little"


def test_finished_images_cost_nothing_more():
    classifier, images, labels = small_problem(count=24)
    with classifier.counting() as spent:
        attacked = perturb(
            classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=LinfBall(0.5),
            step_rule=SignStep(0.2), criterion=Misclassified(), steps=40, rng=Randomness(0),
        )  # fmt: skip
    assert attacked.success.all()
    assert attacked.spent.queries == spent().queries < 24 * 10
    # One query more than gradients: the last look needs no gradient, unless a neighbour in the batch needed one.
    assert (attacked.queries >= attacked.gradients).all()


def test_closest_never_is_farther_than_first():
    classifier, images, labels = small_problem(count=16)
    results = {
        keep: perturb(
            classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=L2Ball(1.0),
            step_rule=NormalizedStep(0.02), criterion=Misclassified(), steps=30, rng=Randomness(0), keep=keep,
        )
        for keep in ("first", "closest")
    }  # fmt: skip
    both = results["first"].success & results["closest"].success
    assert both.any()
    assert (results["closest"].distance[both] <= results["first"].distance[both] + 1e-6).all()


def test_restarts_only_help_and_only_try_what_failed():
    classifier, images, labels = small_problem(count=32)
    outcomes = [
        perturb(
            classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=LinfBall(0.008),
            step_rule=SignStep(0.004), criterion=Misclassified(), steps=2, rng=Randomness(0), random_start=True,
            restarts=restarts,
        )
        for restarts in (1, 6)
    ]  # fmt: skip
    assert (outcomes[1].success >= outcomes[0].success).all()
    assert torch.equal(outcomes[1].images[outcomes[0].success], outcomes[0].images[outcomes[0].success])
    assert torch.equal(outcomes[1].queries[outcomes[0].success], outcomes[0].queries[outcomes[0].success])


def test_margin_criterion_demands_more_than_misclassification():
    classifier, images, labels = small_problem(count=24)
    run = {
        name: perturb(
            classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=LinfBall(0.02),
            step_rule=SignStep(0.005), criterion=criterion, steps=10, rng=Randomness(0),
        )
        for name, criterion in {"flip": Misclassified(), "confident": Margin(confidence=0.05)}.items()
    }  # fmt: skip
    found = run["confident"].success
    assert found.sum() < run["flip"].success.sum()
    scores = classifier(run["confident"].images)
    other = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
    own = scores.gather(1, labels[:, None]).squeeze(1)
    assert ((other - own)[found] >= 0.05 - 1e-5).all()


def test_tanh_space_stays_in_the_box_and_moves():
    classifier, images, labels = small_problem()
    images = images.round()  # pixels at 0 and 1, where atanh is infinite
    labels = classifier(images).argmax(1)
    space = TanhSpace()
    assert torch.allclose(space.decode(space.encode(images, images), images), images, atol=1e-6)
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=L2Ball(float("inf")),
        step_rule=NormalizedStep(1.5), criterion=Misclassified(), steps=60, rng=Randomness(0), space=space,
    )  # fmt: skip
    assert attacked.success.any()
    assert attacked.images.isfinite().all()
    assert torch.equal(PixelSpace().decode(images, images), images)


def test_tanh_space_succeeds_inside_the_ball_only():
    classifier, images, labels = small_problem(count=24)
    epsilon = 0.3
    free, bound = (
        perturb(
            classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=L2Ball(size),
            step_rule=NormalizedStep(0.5), criterion=Misclassified(), steps=20, rng=Randomness(0), space=TanhSpace(),
        )
        for size in (float("inf"), epsilon)
    )  # fmt: skip
    outside = free.success & (free.distance > epsilon)
    assert outside.any(), "the search must leave the ball, or this test proves little"
    assert bound.success.any()
    assert not (bound.success & outside).any()
    assert ((bound.images - images).flatten(1).norm(dim=1) <= epsilon + 1e-5).all()
    assert torch.equal(bound.images[~bound.success], images[~bound.success])


@pytest.mark.parametrize("keep", ["first", "closest"])
def test_tanh_space_returns_the_clean_image_where_that_is_misclassified_already(keep):
    classifier, images, labels = small_problem()
    labels = (labels + 1) % 5
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=L2Ball(1.0),
        step_rule=NormalizedStep(0.5), criterion=Misclassified(), steps=3, rng=Randomness(0), space=TanhSpace(),
        keep=keep,
    )  # fmt: skip
    space = TanhSpace()
    assert not torch.equal(space.decode(space.encode(images, images), images), images)
    assert attacked.status == ("already",) * 12
    assert torch.equal(attacked.images, images)
    assert not attacked.distance.any()


@pytest.mark.parametrize("random_start", [False, True])
def test_last_returns_and_judges_the_last_iterates(random_start):
    classifier, images, labels = small_problem(count=24)
    labels = labels.clone()
    labels[:6] = (labels[:6] + 1) % 5
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=LinfBall(0.01),
        step_rule=SignStep(0.004), criterion=Misclassified(), steps=4, rng=Randomness(0), random_start=random_start,
        keep="last",
    )  # fmt: skip
    assert set(attacked.status) == {"found", "not found"}
    assert [status == "found" for status in attacked.status] == attacked.success.tolist()
    assert torch.equal(attacked.success, classifier(attacked.images).argmax(1) != labels)
    assert torch.equal(attacked.distance, (attacked.images - images).abs().flatten(1).amax(1))
    assert (attacked.distance[~attacked.success] > 0).all()
    assert attacked.success[:6].all()


def test_last_judges_in_the_ball_too():
    classifier, images, labels = small_problem()
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, negative_margin), projection=L2Ball(0.01),
        step_rule=NormalizedStep(3.0), criterion=Misclassified(), steps=5, rng=Randomness(0), space=TanhSpace(),
        keep="last",
    )  # fmt: skip
    assert (classifier(attacked.images).argmax(1) != labels).any()
    assert not attacked.success.any()


def test_restarts_that_repeat_or_overwrite_are_refused():
    classifier, images, labels = small_problem()
    arguments = {
        "evaluate": on_scores(classifier, cross_entropy), "projection": LinfBall(0.1), "step_rule": SignStep(0.1),
        "criterion": Misclassified(), "steps": 2, "rng": Randomness(0), "restarts": 2,
    }  # fmt: skip
    with pytest.raises(InputError, match="got 2 restarts, but each would overwrite the last iterate"):
        perturb(classifier, images, labels, random_start=True, keep="last", **arguments)
    with pytest.raises(InputError, match="got 2 restarts, but without a random start all are the same"):
        perturb(classifier, images, labels, **arguments)


def test_errors_name_the_cause():
    classifier, images, labels = small_problem()
    arguments = {
        "projection": LinfBall(0.1), "step_rule": SignStep(0.1), "criterion": Misclassified(), "steps": 2,
        "rng": Randomness(0),
    }  # fmt: skip
    blind = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", name="blind")
    with pytest.raises(UnsupportedError, match="blind gives no gradients"):
        perturb(blind, images, labels, evaluate=on_scores(blind, cross_entropy), **arguments)
    with pytest.raises(InputError, match="12 images came with 3 labels"):
        perturb(classifier, images, labels[:3], evaluate=on_scores(classifier, cross_entropy), **arguments)
    with pytest.raises(InputError, match=r"takes images in \[0, 1\]"):
        perturb(classifier, images * 2, labels, evaluate=on_scores(classifier, cross_entropy), **arguments)
    broken = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), class_names="abcde", name="broken")
    broken.module[1].weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="broken gave scores or an attack objective that are not finite"):
        perturb(broken, images, labels, evaluate=on_scores(broken, cross_entropy), **arguments)


def test_a_batch_norm_model_does_not_leak_across_images():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    classifier = Classifier(model, class_names="abcde")
    images = torch.rand(6, 3, 8, 8)
    labels = classifier(images).argmax(1)
    rng = Randomness(0).for_examples(list("uvwxyz"))
    arguments = {
        "projection": LinfBall(0.2), "step_rule": SignStep(0.05), "criterion": Misclassified(), "steps": 5,
        "evaluate": on_scores(classifier, cross_entropy), "random_start": True,
    }  # fmt: skip
    whole = perturb(classifier, images, labels, rng=rng, **arguments)
    for i in range(6):
        one = perturb(classifier, images[[i]], labels[[i]], rng=rng[[i]], **arguments)
        assert torch.allclose(one.images[0], whole.images[i], atol=1e-5)
