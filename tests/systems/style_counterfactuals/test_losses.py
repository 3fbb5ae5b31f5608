"""Losses against their formulas, the directions that are easily turned, and what a step of training applies."""

import math

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals import losses, training
from tests.systems.style_counterfactuals.small import PLAN, classifier, images, trained


def test_the_critic_scores_real_images_low():
    real, fake = torch.tensor([-3.0, 0.5]), torch.tensor([2.0, 0.0])
    assert float(losses.critic_loss(real, fake)) == pytest.approx((0 + 1.5 + 0 + 1) / 2)
    assert float(losses.adversarial_loss(fake)) == 1.0


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    weight = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    real = torch.rand(5, 1, 1, 2, requires_grad=True)
    found = losses.gradient_penalty(real, (real * weight).sum((1, 2, 3)), weight=10.0)
    assert float(found) == pytest.approx(10 * (5 - 1) ** 2, rel=1e-5)


def test_an_image_is_stretched_by_its_own_range_and_a_flat_one_is_0():
    given = torch.stack([torch.full((3, 4, 4), 0.4), torch.linspace(0.2, 0.6, 48).view(3, 4, 4)])
    found = losses.min_max(given)
    assert bool((found[0] == 0).all())
    assert float(found[1].min()) == pytest.approx(-1)
    assert float(found[1].max()) == pytest.approx(1)


def test_the_perceptual_distance_ignores_the_length_of_a_vector_and_sums_over_layers():
    maps = [torch.rand(2, 3, 4, 4) + 0.1, torch.rand(2, 5, 2, 2) + 0.1]
    assert torch.allclose(losses.perceptual_distance(maps, [7 * one for one in maps]), torch.zeros(2), atol=1e-6)
    turned = [-one for one in maps]
    assert torch.allclose(losses.perceptual_distance(maps, turned), torch.full((2,), 8.0))


@pytest.mark.covers("32.12")
def test_the_divergence_is_of_the_reconstruction_from_the_image_for_any_number_of_classes():
    scores, remade = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.5, 0.0]])
    p, q = scores.softmax(1), remade.softmax(1)
    assert float(losses.consistency_loss(scores, remade)) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert float(losses.consistency_loss(scores, remade)) != pytest.approx(
        float(losses.consistency_loss(remade, scores)), rel=1e-2
    )


@pytest.mark.covers("32.12")
def test_what_encoder_steps_add_counts_twice():
    found = losses.encoder_step_loss(
        torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0), rec_scale=10.0, kl_scale=0.5
    )
    assert float(found) == 1 + 2 * (10 * 2 + 0.5 * 3)


@pytest.mark.covers("32.12")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_steps_are_one_of_noise_and_one_that_reconstructs_with_and_without_accumulation(accumulate):
    seen = []
    plan = PLAN.model_copy(update={"steps": 2, "accumulate": accumulate, "batch_size": 2})
    trained(plan, watch=lambda one: seen.append(set(one.losses)))
    assert not {"reconstruction", "consistency"} & seen[0]
    assert {"reconstruction", "consistency"} <= seen[1]
    assert ["penalty" in one for one in seen] == [True, False]


@pytest.mark.covers("32.12")
def test_a_step_of_encoding_lowers_exactly_its_loss(monkeypatch):
    scales = []
    original = training.encoder_step_loss
    monkeypatch.setattr(
        training, "encoder_step_loss", lambda *parts, **named: scales.append(named) or original(*parts, **named)
    )
    trained(PLAN.model_copy(update={"steps": 2, "rec_scale": 3.0, "kl_scale": 7.0}))
    assert scales == [{"rec_scale": 3.0, "kl_scale": 7.0}]


@pytest.mark.covers("32.12")
def test_the_loss_of_a_step_is_made_of_the_images_that_it_drew_with_their_scores_first(monkeypatch):
    """What arrives at each loss, and the sum that is lowered, by hand."""
    kept = {}
    plain, rebuilding = training.consistency_loss, training.reconstruction_loss
    total, adversarial = training.encoder_step_loss, training.adversarial_loss

    def spy(name, function):
        def called(*parts, **named):
            kept[name] = (parts, function(*parts, **named))
            return kept[name][1]

        monkeypatch.setattr(training, function.__name__, called)

    drawn, batch = [], training.Training._batch
    monkeypatch.setattr(training.Training, "_batch", lambda own, part: drawn.append(batch(own, part)) or drawn[-1])
    for name, function in (("kl", plain), ("rebuilt", rebuilding), ("sum", total), ("adversarial", adversarial)):
        spy(name, function)
    found = trained(PLAN.model_copy(update={"steps": 2, "rec_scale": 3.0, "kl_scale": 7.0}))
    real, scores, _ = drawn[-1]
    (own, remade), kl = kept["kl"]
    (images_, fake, *_), rebuilt = kept["rebuilt"]
    assert torch.equal(own, scores), "the prediction for the image is the truth"
    assert torch.allclose(own, found.seen.scores(real), atol=1e-4)
    assert torch.equal(images_, real)
    assert remade.requires_grad
    assert torch.allclose(remade, found.seen.scores(fake.clamp(0, 1)), atol=1e-4)
    by_hand = kept["adversarial"][1] + 2 * (3 * rebuilt + 7 * losses.consistency_loss(scores, remade))
    assert torch.allclose(kept["sum"][1], by_hand, rtol=1e-5)
    assert torch.allclose(kl, losses.consistency_loss(scores, remade))


def test_path_lengths_of_a_linear_generator_are_known():
    factor = 3.0
    styles = torch.ones(2, 4, requires_grad=True)
    made = factor * styles.view(2, 1, 2, 2)
    noise = torch.ones(2, 1, 2, 2)
    found = losses.path_lengths(made, styles, noise)
    assert torch.allclose(found, torch.full((2,), factor / 2))


def test_the_path_penalty_is_applied_and_its_mean_is_kept():
    plan = PLAN.model_copy(update={"path_every": 2, "path_start": 0, "steps": 3})
    assert float(trained(plan).explainer.path_length) > 0
    assert float(trained(PLAN).explainer.path_length) == 0


def test_a_diverging_training_is_an_error_that_says_what_to_do():
    with pytest.raises(training.ModelError, match="lower learning rate"):
        trained(PLAN.model_copy(update={"learning_rate": 1e30, "steps": 6}))


def test_images_without_finite_scores_are_never_drawn(monkeypatch):
    plain = training.Seen.scores

    def failing(seen, given):
        first = torch.arange(len(given))[:, None] == 0 if len(given) == 24 else torch.zeros(len(given), 1).bool()
        return torch.where(first, math.nan, plain(seen, given))

    monkeypatch.setattr(training.Seen, "scores", failing)
    found = trained(PLAN.model_copy(update={"steps": 2, "batch_size": 60}))
    assert found.rows.tolist() == list(range(1, 24))
    assert all(map(math.isfinite, found.losses.values()))


def test_scores_that_are_not_finite_are_refused():
    broken = classifier()
    nn.init.constant_(broken.module.map.weight, math.nan)
    with pytest.raises(training.ModelError, match="finite scores for 0 of 24 images"):
        training.train_explainer(broken, images(), PLAN, Randomness(0))


def test_images_that_do_not_fit_the_plan_are_refused():
    with pytest.raises(training.InputError, match=r"uint8 \(n, 3, 32, 32\); got torch.float32"):
        training.train_explainer(classifier(), images().float() / 255, PLAN, Randomness(0))
