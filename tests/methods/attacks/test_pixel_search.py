"""Attacks on models that decide each pixel: weights, starts, budgets, restarts, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.attacks import APGD, FGSM, PGD, CosPGD, HopSkipJump, SegPGD, Square, Transfer
from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified, PixelsMisclassified, PixelsTargeted, Targeted, ValuesFarOff
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pixel_search import OnPixels, by_alignment, by_decision, evenly, harm, pixel_losses
from snellen.testing.conformance import small_problem

ON_PIXELS = [FGSM, PGD, SegPGD, CosPGD]


def network(outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 3, padding=1))


def segmenter(seed=0, scale=4.0):
    model = network(seed=seed)
    model[2].weight.data *= scale
    return Classifier(model, class_names=["sky", "ground", "house"], task="segment")


def restorer(seed=0):
    return Classifier(network(seed=seed), class_names=["red", "green", "blue"], task="score")


def scenes(count=3, side=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, side, side + 2, generator=generator)
    with torch.no_grad():
        labels = segmenter()(images).argmax(1)
    return images, labels


@pytest.mark.covers("19.6")
@pytest.mark.parametrize("kind", [SegPGD, CosPGD])
def test_the_first_step_follows_the_weighted_map_of_losses_and_not_the_sign_of_pgd(kind):
    """One step without a random start, against the gradient computed by hand."""
    images, labels = scenes()
    labels = torch.where(torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.4, 2, labels)
    model = segmenter()
    attacked = kind(epsilon=0.1, steps=1, step_size=0.02, random_start=False).attack(model, images, labels)
    variable = images.clone().requires_grad_()
    scores = model(variable)
    losses = F.cross_entropy(scores, labels, reduction="none")
    right = scores.argmax(1) == labels
    if kind is SegPGD:
        weights = right.float()  # λ is 0 at the first step
    else:
        weights = scores.softmax(1).gather(1, labels[:, None])[:, 0] / scores.softmax(1).norm(dim=1)
    (gradient,) = torch.autograd.grad((losses * weights.detach()).sum(), variable)
    expected = (images + 0.02 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(attacked.images, expected, atol=1e-6)
    plain = PGD(epsilon=0.1, steps=1, step_size=0.02, random_start=False).attack(model, images, labels)
    # A mean loss that is multiplied by any weight has the gradient's sign of PGD everywhere.
    assert (attacked.images != plain.images).float().mean() > 0.02


@pytest.mark.covers("19.6")
def test_weights_carry_no_gradient_and_void_pixels_count_nothing():
    images, labels = scenes()
    scores = segmenter()(images.requires_grad_())
    for weigh in (by_decision, by_alignment):
        assert not weigh(scores, labels, 0.5, False).requires_grad
    void = labels.clone()
    void[:, :5] = -1
    losses = pixel_losses(scores, void)
    assert losses.shape == labels.shape
    assert not losses[:, :5].any()
    values = OnPixels(segmenter(), evenly, steps=1, criterion=PixelsMisclassified(1.0))(images, void, None)[1]
    assert torch.allclose(values, losses.flatten(1).sum(1) / (void >= 0).flatten(1).sum(1))


def test_segpgd_moves_weight_from_right_to_wrong_pixels_over_the_steps():
    scores, labels = torch.eye(2).view(1, 2, 1, 2), torch.tensor([[[0, 0]]])
    found = [by_decision(scores, labels, done, False).flatten().tolist() for done in (0.0, 0.5, 1.0)]
    assert found == [[1.0, 0.0], [0.75, 0.25], [0.5, 0.5]]
    # Towards targets, what has not reached its target weighs more.
    assert by_decision(scores, labels, 0.0, True).flatten().tolist() == [0.0, 1.0]
    assert torch.allclose(by_alignment(scores, labels, 0, True), 1 - by_alignment(scores, labels, 0, False))


def test_the_share_that_is_done_rises_with_the_steps():
    seen = []

    class Watched(SegPGD):
        def _weigh(self, scores, labels, done, targeted):
            seen.append(done)
            return super()._weigh(scores, labels, done, targeted)

    Watched(steps=4, restarts=2).attack(segmenter(), *scenes())
    assert seen == [0, 0.25, 0.5, 0.75, 1.0] * 2


@pytest.mark.covers("19.8")
@pytest.mark.parametrize("kind", [*ON_PIXELS, Square])
@pytest.mark.parametrize("epsilon", [2 / 255, 0.2])
def test_every_image_stays_in_its_box_and_within_epsilon(kind, epsilon):
    images, labels = scenes()
    images[0], images[1] = images[0].round(), 0.0
    kept = images.clone()
    fewer = {"queries": 300} if kind is Square else {}
    attacked = kind(epsilon=epsilon, **fewer).attack(segmenter(), images, labels)
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    assert (attacked.images - images).abs().max() <= epsilon + 1e-6
    assert torch.equal(images, kept)
    assert (attacked.images != images).any()


@pytest.mark.covers("19.8")
@pytest.mark.parametrize("epsilon", [2 / 255, 0.2])
def test_random_starts_lie_in_the_ball_and_are_the_same_for_all_attacks(epsilon):
    images, labels = scenes()
    starts = []

    class Looking(Classifier):
        def __call__(self, given):
            starts.append(given.detach().clone())
            return super().__call__(given)

    for kind in (PGD, SegPGD, CosPGD):
        starts.clear()
        seen = Looking(network(), class_names=["a", "b", "c"], task="segment")
        kind(epsilon=epsilon, steps=1).attack(seen, images, labels, rng=Randomness(3))
        if kind is PGD:
            first = starts[0]
        assert torch.equal(starts[0], first)
    assert first.min() >= 0
    assert first.max() <= 1
    assert 0.5 * epsilon < (first - images).abs().max() <= epsilon + 1e-6


@pytest.mark.parametrize("kind", ON_PIXELS)
def test_attacks_raise_the_share_of_wrong_pixels(kind):
    images, labels = scenes()
    attacked = kind(epsilon=0.2).attack(segmenter(), images, labels)
    assert not harm(segmenter()(images), labels).any()
    assert (harm(attacked.scores, labels) > 0.1).all()
    assert torch.allclose(attacked.scores, segmenter()(attacked.images), atol=1e-5)
    assert attacked.scores.shape == (3, 3, 10, 12)


def test_a_batch_is_attacked_as_its_images_are_alone():
    images, labels = scenes()
    rng = Randomness(0).bind(3)
    together = CosPGD(steps=3).attack(segmenter(), images, labels, rng=rng)
    for row in range(3):
        alone = CosPGD(steps=3).attack(segmenter(), images[[row]], labels[[row]], rng=rng[[row]])
        assert torch.allclose(alone.images, together.images[[row]], atol=1e-6)


def test_a_search_ends_where_the_criterion_is_met():
    images, labels = scenes()
    some = PGD(epsilon=0.2, steps=30)
    whole = some.attack(segmenter(), images, labels)
    short = some.attack(segmenter(), images, labels, criterion=PixelsMisclassified(0.1))
    assert (short.queries < whole.queries).all()
    assert short.success.all()
    assert (harm(short.scores, labels) >= 0.1).all()


def test_more_restarts_never_do_less_harm():
    images, labels = scenes()
    one = SegPGD(epsilon=2 / 255, steps=2).attack(segmenter(), images, labels)
    many = SegPGD(epsilon=2 / 255, steps=2, restarts=5).attack(segmenter(), images, labels)
    assert (harm(many.scores, labels) >= harm(one.scores, labels)).all()
    assert torch.allclose(many.scores, segmenter()(many.images), atol=1e-5)
    squares = Square(epsilon=8 / 255, queries=20, restarts=3).attack(segmenter(), images, labels)
    assert torch.allclose(squares.scores, segmenter()(squares.images), atol=1e-5)


def test_targets_are_reached():
    images, labels = scenes()
    targets = torch.full_like(labels, 2)
    before = (labels == 2).float().mean()
    for kind in (PGD, SegPGD, CosPGD):
        attacked = kind(epsilon=0.2, steps=20).attack(segmenter(), images, targets, criterion=PixelsTargeted())
        assert (attacked.scores.argmax(1) == 2).float().mean() > before + 0.1


def test_squares_need_no_gradients_and_keep_the_best_candidate():
    images, labels = scenes()
    blind = Classifier(segmenter().module, class_names=["a", "b", "c"], task="segment", differentiable=False)
    attacked = Square(epsilon=0.1, queries=30).attack(blind, images, labels)
    assert (harm(attacked.scores, labels) > 0).all()
    assert torch.allclose(attacked.scores, blind(attacked.images), atol=1e-5)
    assert not attacked.gradients.any()


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("19.7")
@pytest.mark.parametrize("kind", [FGSM, PGD, CosPGD])
def test_the_loss_of_restoration_is_against_the_truth_and_never_clamped(kind):
    """Outputs far above 1 have the gradient that the truth gives them."""
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    truth = torch.zeros(2, 3, 8, 8)
    model = Classifier(_Brighter(), class_names=["red", "green", "blue"], task="score")
    attacked = kind(epsilon=0.05).attack(model, images, truth)
    # Every output is saturated; more of each value is further from the truth.
    assert torch.allclose(attacked.images, (images + 0.05).clamp(0, 1), atol=1e-6)
    assert not attacked.zero_gradient.any()
    bright = torch.full_like(truth, 9.0)
    towards = kind(epsilon=0.05).attack(model, images, bright)
    assert torch.allclose(towards.images, (images - 0.05).clamp(0, 1), atol=1e-6)


class _Brighter(nn.Module):
    def forward(self, images):
        return 3 * images + 2


@pytest.mark.covers("19.7")
def test_the_gradient_passes_through_every_layer():
    images = torch.rand(1, 3, 8, 8)
    truth = torch.rand(1, 3, 8, 8)
    model = restorer()
    expected = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((model(expected) - truth).square().mean(), expected)
    attacked = FGSM(epsilon=0.01).attack(model, images, truth)
    assert torch.allclose(attacked.images, (images + 0.01 * gradient.sign()).clamp(0, 1), atol=1e-6)


def test_errors_of_values_grow_and_a_limit_ends_the_search():
    images, truth = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    for kind in (FGSM, PGD, CosPGD, Square):
        attacked = kind(epsilon=0.05).attack(restorer(), images, truth)
        assert (harm(attacked.scores, truth) > harm(restorer()(images), truth)).all()
        assert not attacked.success.any()
    ended = PGD(epsilon=0.05, steps=20).attack(restorer(), images, truth, criterion=ValuesFarOff(0.1))
    assert ended.success.all()
    assert (ended.queries == 1).all()
    with pytest.raises(InputError, match="gives values; use pgd or cospgd"):
        SegPGD(steps=1).attack(restorer(), images, truth)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [APGD(steps=2), HopSkipJump(budget=9), Transfer()])
def test_attacks_on_classifiers_refuse_models_that_decide_pixels(attack):
    with pytest.raises(UnsupportedError, match="decides each pixel; attack it with fgsm, pgd"):
        attack.attack(segmenter(), *scenes())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), r"integer labels \(n, h, w\) from 0 to 2, -1 for void"),
        (torch.zeros(3, 10, 12), r"got torch.float32 \(3, 10, 12\)"),
        (torch.full((3, 10, 12), 3), "got the value 3"),
        (torch.full((3, 10, 12), 255, dtype=torch.uint8), "got the value 255, which many data sets write for void"),
        (torch.zeros(2, 10, 12, dtype=torch.int64), "3 images came with 2 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        PGD(steps=1).attack(segmenter(), scenes()[0], labels)


def test_targets_and_scores_that_do_not_fit_are_refused():
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match=r"finite floating-point targets \(n, 3, h, w\)"):
        PGD(steps=1).attack(restorer(), images, torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match="not finite"):
        PGD(steps=1).attack(restorer(), images, torch.full((1, 3, 8, 8), torch.nan))
    coarse = Classifier(nn.Conv2d(3, 2, 3, stride=2), class_names=["a", "b"], task="segment")
    with pytest.raises(ModelError, match="resize the scores inside the model"):
        PGD(steps=1).attack(coarse, images, torch.zeros(1, 8, 8, dtype=torch.int64))


def test_no_images_and_only_void_pixels_are_no_errors():
    images, labels = scenes()
    assert len(PGD(steps=1).attack(segmenter(), images[:0], labels[:0]).images) == 0
    void = torch.full_like(labels, -1)
    attacked = CosPGD(steps=2).attack(segmenter(), images, void)
    assert not attacked.success.any()
    assert not harm(attacked.scores, void).any()


@pytest.mark.parametrize("kind", [SegPGD, CosPGD])
def test_classifiers_are_refused_in_one_sentence(kind):
    """On them, both would be PGD under another name."""
    classifier, images, labels = small_problem(count=6)
    with pytest.raises(UnsupportedError, match=r"^\w+ weighs the pixels .* decides once .*; use pgd$"):
        kind(steps=1).attack(classifier, images, labels)
    assert "decides once" in kind().missing(classifier)
    assert kind().missing(segmenter()) is None


def test_one_channel_has_no_weights_for_cospgd():
    images, truth = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8)
    depth = Classifier(network(outputs=1), class_names=["depth"], task="score")
    with pytest.raises(InputError, match="gives one channel; use pgd"):
        CosPGD(steps=1).attack(depth, images, truth)
    assert (PGD(steps=1).attack(depth, images, truth).images != images).any()


@pytest.mark.parametrize(
    ("model", "criterion", "message"),
    [
        (segmenter, Misclassified(), "Misclassified does not fit .* decides each pixel; use PixelsMisclassified or"),
        (segmenter, Targeted(), "Targeted does not fit"),
        (segmenter, ValuesFarOff(0.1), "ValuesFarOff does not fit"),
        (restorer, PixelsMisclassified(), "gives maps of values; use ValuesFarOff"),
        (lambda: small_problem()[0], PixelsTargeted(), "decides once for an image; use Misclassified or"),
    ],
)
def test_criteria_of_other_models_are_refused(model, criterion, message):
    with pytest.raises(InputError, match=message):
        PGD(steps=1).attack(model(), *scenes(), criterion=criterion)


@pytest.mark.parametrize("restarts", [1, 2])
def test_squares_cost_what_is_documented(restarts):
    images, labels = scenes()
    attacked = Square(epsilon=0.02, queries=15, restarts=restarts).attack(segmenter(), images, labels)
    assert attacked.queries.tolist() == [15 * restarts] * 3


def test_squares_end_where_the_criterion_is_met_and_those_that_leave_keep_their_best():
    """A row that ends early returns the candidate that met its limit; the others go on as if it had stayed."""
    images, labels = scenes()
    rng = Randomness(0).bind(3)
    whole = Square(epsilon=0.15, queries=60).attack(segmenter(), images, labels, rng=rng)
    share = harm(whole.scores, labels).max().item()
    limit = PixelsMisclassified(share - 1e-6)
    attacked = Square(epsilon=0.15, queries=60).attack(segmenter(), images, labels, criterion=limit, rng=rng)
    assert attacked.success.any()
    assert (attacked.queries[attacked.success] <= 60).all()
    assert attacked.queries.min() < 60
    assert (attacked.queries[~attacked.success] == 60).all()
    assert torch.allclose(attacked.scores, segmenter()(attacked.images), atol=1e-5)
    assert (harm(attacked.scores, labels)[attacked.success] >= share - 1e-6).all()
    still = ~attacked.success
    assert torch.equal(attacked.images[still], whole.images[still])


def test_squares_return_the_best_of_all_that_were_seen():
    images, labels = scenes()
    seen = []

    class Watched(Classifier):
        def __call__(self, given):
            scores = super().__call__(given)
            seen.append(pixel_losses(scores, labels).flatten(1).mean(1))
            return scores

    attacked = Square(epsilon=0.1, queries=25).attack(
        Watched(segmenter().module, class_names=["a", "b", "c"], task="segment"), images, labels
    )
    assert len(seen) == 25
    final = pixel_losses(attacked.scores, labels).flatten(1).mean(1)
    assert torch.allclose(final, torch.stack(seen).amax(0), atol=1e-6)


@pytest.mark.parametrize("kind", [SegPGD, CosPGD])
def test_starts_are_those_of_pgd(kind):
    """With a step of nothing, what comes back is the start."""
    images, labels = scenes()
    rng = Randomness(5).bind(3)
    given = [
        one(epsilon=0.1, steps=1, step_size=1e-9).attack(segmenter(), images, labels, rng=rng) for one in (PGD, kind)
    ]
    assert (given[0].images != images).any()
    assert torch.allclose(given[0].images, given[1].images, atol=1e-7)


def test_segpgd_steps_by_the_weights_of_its_step():
    """Two steps by hand, with λ = 0 and ¼ of two; λ fixed at 0 goes another way."""
    images, labels = scenes()
    labels = torch.where(torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.5, 2, labels)
    model, moved = segmenter(), {}
    for name, shares in {"rising": (0.0, 0.25), "fixed": (0.0, 0.0)}.items():
        current = images.clone()
        for share in shares:
            variable = current.clone().requires_grad_()
            scores = model(variable)
            weights = torch.where(scores.argmax(1) == labels, 1 - share, share)
            loss = (F.cross_entropy(scores, labels, reduction="none") * weights).sum()
            (gradient,) = torch.autograd.grad(loss, variable)
            current = (current + 0.02 * gradient.sign()).clamp(0, 1)
        moved[name] = current
    attacked = SegPGD(epsilon=0.1, steps=2, step_size=0.02, random_start=False).attack(model, images, labels).images
    assert torch.allclose(attacked, moved["rising"], atol=1e-6)
    assert not torch.allclose(attacked, moved["fixed"], atol=1e-6)
