"""Scores and what is done with them: on Gaussians with a known posterior, both shifts sample that posterior."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.methods.generation.class_steer import ClassSteer, MeanShiftGuidance, step_posterior
from snellen.methods.generation.classifier_scores import (
    by_experts,
    closeness,
    log_probability,
    off_the_shelf,
    on_the_estimate,
)
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.teachers import classifier_teacher, map_teacher
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.guidance import GradientGuidance
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.reproduction.shared.guided_generation.judging import thumbnail_judge
from snellen.systems.plug_and_play_guidance.low_rank_experts import LowRankExperts, NoiseRanges, own_tensors
from tests.methods.generation.tiny_guided import FINE, SCHEDULE, normal_generator, tiny_classifier
from tests.systems.plug_and_play_guidance.test_low_rank_experts import SETTINGS, changed_student

#: What is observed of each pixel, and the standard deviation of the observation's own noise.
SEEN, SPREAD = 1.5, 0.7

#: x_0 ~ N(0, 1), y = x_0 + SPREAD n: the posterior of x_0.
MEAN, VARIANCE = SEEN / (1 + SPREAD**2), SPREAD**2 / (1 + SPREAD**2)


def observed(latents, view):
    """log p(y | x_t): x_0 given x_t is N(alpha x_t, sigma^2), each pixel by itself."""
    variance = view.sigma**2 + SPREAD**2
    return (-((SEEN - view.alpha * latents) ** 2) / (2 * variance)).flatten(1).sum(1)


def sampled(generator, terms, hooks=(), solver="ddim", steps=100, count=2):
    sampler = Sampler(generator, steps=steps, solver=solver)
    return sampler.run(sampler.start(seeded(range(count))), Condition(count=count), guidance=terms, hooks=hooks).latents


@pytest.mark.covers("12.10")
def test_both_shifts_sample_the_posterior():
    generator = normal_generator(side=30, channels=1, schedule=FINE)
    noise = sampled(generator, [GradientGuidance(observed, 2.0)], steps=200)
    shift = MeanShiftGuidance(observed, 2.0)
    mean = sampled(generator, [shift], [shift], solver="ddpm", steps=200)
    for found in (noise, mean):
        assert float(found.mean()) == pytest.approx(MEAN, abs=0.06)
        assert float(found.var()) == pytest.approx(VARIANCE, abs=0.05)


@pytest.mark.covers("12.10")
@pytest.mark.parametrize("kind", ["fixed_small", "fixed_large"])
def test_the_mean_of_a_step_moves_by_its_variance_times_the_gradient(kind):
    generator = normal_generator(side=4, schedule={**SCHEDULE, "variance_type": kind})
    sampler = Sampler(generator, steps=10, solver="ddpm")
    state = sampler.run(sampler.start(seeded([1, 2])), Condition(count=2), until=6)
    plain = sampler.run(state, Condition(count=2), until=7).latents
    shift = MeanShiftGuidance(observed, [3.0, 1.0])
    moved = sampler.run(state, Condition(count=2), guidance=[shift], hooks=[shift], until=7).latents
    (alpha, sigma), (before, left) = (sampler.new_solver().level(index) for index in (6, 7))
    kept = (alpha / before) ** 2
    variance = (1 - kept) * (left**2 / sigma**2 if kind == "fixed_small" else 1)
    gradient = alpha * (SEEN - alpha * state.latents) / (sigma**2 + SPREAD**2)
    torch.testing.assert_close(moved[:1], plain[:1] + variance * 2.0 * gradient[:1], atol=1e-5, rtol=1e-4)
    assert torch.equal(moved[1], plain[1])
    with pytest.raises(InputError, match="from a lower to a higher timestep"):
        MeanShiftGuidance(observed, 2.0, interval=(50, 10))


def test_the_variance_is_that_of_the_library():
    generator = normal_generator()
    sampler = Sampler(generator, steps=10, solver="ddpm")
    solver = sampler.new_solver()
    for index in (0, 4, 8):
        _, _, variance = step_posterior(solver.level(index)[0], solver.level(index + 1)[0])
        moment = solver._scheduler.timesteps[index]
        assert variance == pytest.approx(float(solver._scheduler._get_variance(moment)), rel=1e-4)


def test_for_maps_each_sample_has_the_norm_of_its_own_mean():
    """‖shift‖ = Σ s ‖μ‖ for each sample, whatever stands beside it and however steep the score is."""
    generator = normal_generator(side=4)
    sampler = Sampler(generator, steps=10, solver="ddpm")

    def moved(seeds, steepness):
        state = sampler.run(sampler.start(seeded(seeds)), Condition(count=len(seeds)), until=5)
        shift = MeanShiftGuidance(lambda x, view: steepness * observed(x, view), 1.4, relative=True)
        plain = sampler.run(state, Condition(count=len(seeds)), until=6).latents
        found = sampler.run(state, Condition(count=len(seeds)), guidance=[shift], hooks=[shift], until=6).latents
        return state.latents, found - plain

    latents, shifts = moved([1, 2, 3], 1.0)
    solver = sampler.new_solver()
    alpha, before = solver.level(5)[0], solver.level(6)[0]
    a, b, variance = step_posterior(alpha, before)
    clean = alpha * latents  # of standard normal pixels
    means = (a * clean + b * latents).flatten(1).norm(dim=1)
    torch.testing.assert_close(shifts.flatten(1).norm(dim=1), variance * 0.4 * means, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(moved([2], 1.0)[1], shifts[1:2], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(moved([1, 2, 3], 50.0)[1], shifts, atol=1e-5, rtol=1e-3)
    shift = MeanShiftGuidance(lambda x, view: (0 * x).flatten(1).sum(1), 2.0, relative=True)
    still = sampled(generator, [shift], [shift], solver="ddpm", steps=5)
    assert torch.equal(still, sampled(generator, [], solver="ddpm", steps=5)), "a gradient of zero moves nothing"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("reading", ["noisy", "estimate", "estimate, noise held", "through", "experts"])
def test_what_is_read_is_what_it_says(reading, prediction):
    """Whatever the network predicts; its weight of 0.9 tells what is held from what is not."""
    generator, classifier = normal_generator(prediction=prediction), tiny_classifier()
    generator.denoiser.network.weight.fill_(0.9)
    teacher = classifier_teacher(classifier)
    own = tuple(own_tensors(changed_student(teacher.network, seed)) for seed in (1, 2))
    experts = LowRankExperts(teacher.network, NoiseRanges(2, 100), own, SETTINGS)
    read = {
        "noisy": off_the_shelf(teacher),
        "estimate": on_the_estimate(teacher, through=False),
        "estimate, noise held": on_the_estimate(teacher, through=False, held="epsilon"),
        "through": on_the_estimate(teacher, through=True),
        "experts": by_experts(teacher, experts),
    }[reading]
    seen = []

    def watched(latents, view):
        scores = read(latents, view)
        (gradient,) = torch.autograd.grad(scores.sum(), latents, retain_graph=True)
        seen.append((view.timestep, view.alpha, view.sigma, latents.detach(), scores.detach(), gradient))
        return scores[:, 0]

    sampled(generator, [GradientGuidance(watched, 1.5)], steps=4)
    assert len(seen) == 4
    for timestep, alpha, sigma, latents, scores, gradient in seen:
        at = latents.clone().requires_grad_(True)
        noise = 0.9 * sigma * at
        velocity = alpha * noise - sigma * (at - sigma * noise) / alpha
        clean = {
            "estimate": alpha * at - sigma * velocity.detach(),
            "estimate, noise held": (at - sigma * noise.detach()) / alpha,
            "through": (at - sigma * noise) / alpha,
        }.get(reading, at)
        images = classifier.normalise(clean / 2 + 0.5)
        expected = experts.answer(int(timestep >= 50), images) if reading == "experts" else teacher.network(images)
        torch.testing.assert_close(scores, expected.detach(), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), at)[0], atol=1e-4, rtol=1e-3)


def test_log_probabilities_are_taken_in_single_precision():
    def read(latents, view):
        return (latents.flatten(1)[:, :3] * 60).to(torch.bfloat16)

    score = log_probability(read, torch.tensor([0, 2]))
    latents = torch.randn(2, 3, 8, 8)
    found = score(latents, None)
    assert found.dtype == torch.float32
    expected = (latents.flatten(1)[:, :3] * 60).to(torch.bfloat16).float().log_softmax(1)
    torch.testing.assert_close(found, torch.stack([expected[0, 0], expected[1, 2]]))
    for wrong in (torch.tensor([0, 3]), torch.tensor([0]), torch.tensor([0, -1])):
        with pytest.raises(InputError, match="do not index scores of shape"):
            log_probability(read, wrong)(latents, None)


def test_maps_are_followed_towards_what_is_wanted():
    generator = normal_generator()
    teacher = map_teacher(torch.nn.Conv2d(3, 1, 1), name="depth")
    wanted = torch.full((2, 1, 8, 8), 0.5)
    score = closeness(off_the_shelf(teacher), wanted)

    def error(latents):
        return float((teacher(latents / 2 + 0.5) - wanted).square().mean())

    shift = MeanShiftGuidance(score, 2.5, relative=True)
    guided = sampled(generator, [shift], [shift], solver="ddpm", steps=20)
    assert error(guided) < 0.5 * error(sampled(generator, [], solver="ddpm", steps=20))
    with pytest.raises(InputError, match="wanted maps have shape"):
        sampled(generator, [GradientGuidance(closeness(off_the_shelf(teacher), wanted[:, :, :4]), 2.0)], steps=2)


def test_a_segmentation_is_followed_towards_the_classes_of_its_places():
    generator = normal_generator()
    teacher = map_teacher(torch.nn.Conv2d(3, 4, 1), name="segmentation")
    wanted = torch.arange(4).repeat(2, 8, 2)
    score = log_probability(off_the_shelf(teacher), wanted)

    def loss(latents):
        return float(F.cross_entropy(teacher(latents / 2 + 0.5), wanted))

    view = SimpleNamespace(generator=generator)
    latents = torch.randn(2, 3, 8, 8)
    assert float(score(latents, view).mean()) == pytest.approx(-loss(latents), rel=1e-5)
    guided = sampled(generator, [GradientGuidance(score, 200.0)], steps=20)
    assert loss(guided) < 0.9 * loss(sampled(generator, [], steps=20))
    with pytest.raises(InputError, match="do not index scores of shape"):
        log_probability(off_the_shelf(teacher), wanted[:, :4])(latents, view)


def test_teachers_of_different_kinds_steer_together():
    """The shifts of a classifier and of a map add up in each step."""
    generator = normal_generator()
    classes = log_probability(off_the_shelf(classifier_teacher(tiny_classifier())), torch.tensor([0, 2]))
    depth = closeness(off_the_shelf(map_teacher(torch.nn.Conv2d(3, 1, 1), name="depth")), torch.zeros(2, 1, 8, 8))
    one, other = GradientGuidance(classes, 3.0), GradientGuidance(depth, 50.0)
    both = GradientGuidance(lambda x, view: 2 * classes(x, view) + 49 * depth(x, view), 2.0)
    together = sampled(generator, [one, other], steps=4)
    torch.testing.assert_close(together, sampled(generator, [both], steps=4), atol=1e-4, rtol=1e-4)
    for alone in (one, other):
        assert float((together - sampled(generator, [alone], steps=4)).abs().max()) > 1e-2


def test_gradients_that_are_not_finite_are_counted_and_not_followed():
    generator = normal_generator()

    def broken(latents, view):
        return latents.flatten(1).sum(1) * torch.tensor([1.0, float("nan")])

    for solver in ("ddim", "ddpm"):
        term = MeanShiftGuidance(broken, 2.0) if solver == "ddpm" else GradientGuidance(broken, 2.0)
        hooks = [term] if solver == "ddpm" else []
        found = sampled(generator, [term], hooks, solver=solver, steps=3)
        plain = sampled(generator, [], solver=solver, steps=3)
        assert torch.equal(found[1], plain[1])
        assert not torch.equal(found[0], plain[0])
        assert dict(term.dropped.steps) == {"1": 3}


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_images_of_one_seed_are_counted_each_by_itself(solver):
    def read(latents, view):
        return latents.flatten(1)[:, :3] * torch.tensor([[1.0], [float("nan")]])[: len(latents)]

    generator = normal_generator()
    asked = GeneratorCall(generator, (7, 7, 8), ("a", "b", "c"), torch.tensor([0, 1, 2]))
    following = ClassSteer(asked, read, 2.0, solver)
    sampler = Sampler(generator, steps=3, solver=solver)
    made = generate(sampler, asked.seeds, condition=asked.nothing, steer=following, batch_size=2)
    assert following.reported() == [{"gradients dropped": 0}, {"gradients dropped": 3}, {"gradients dropped": 0}]
    plain = generate(sampler, asked.seeds, condition=asked.nothing).images
    assert [bool((made.images[row] - plain[row]).abs().max() > 1e-3) for row in range(3)] == [True, False, True]


@pytest.mark.covers("12.12")
def test_the_judge_refuses_to_judge_what_it_guided():
    judge = thumbnail_judge()
    judge.check_independent([load_classifier("bundled:fashion-cnn")])
    with pytest.raises(InputError, match="guided these images, so it cannot judge them"):
        judge.check_independent([load_classifier("bundled:fashion-judge")])
