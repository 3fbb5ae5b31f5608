"""Gradient-free guidance on networks in the shape of the public ones: what it equals, sees and chooses."""

import gc
import weakref

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.methods.generation.teachers import read_estimates
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.systems.gradient_free_guidance.confusion import ReferencePolicy, ScalePolicy
from snellen.systems.gradient_free_guidance.gradient_free import (
    Deciding,
    GradientFreeRule,
    away_from_confusion,
)
from tests.methods.generation.gradient_free_runs import (
    CERTAIN,
    CLASSES,
    OWN,
    SEEDS,
    STEPS,
    Run,
    plain,
    said,
)


@pytest.mark.covers("38.4")
@pytest.mark.parametrize("solver", ["ddim", "euler"])
def test_a_certain_classifier_changes_no_bit_of_the_trajectory(generator, solver):
    one = Run(generator, said(*CERTAIN), solver=solver)
    alone = plain(generator, solver=solver)
    assert torch.equal(one.latents, alone.latents)
    assert (one.state.calls, one.state.rows) == (alone.calls, alone.rows)
    two = [CERTAIN[0], [9.0, 0, 0, 0, 0], CERTAIN[2]]
    mixed = Run(generator, said(*two), solver=solver)
    assert torch.equal(mixed.latents[[0, 2]], alone.latents[[0, 2]])
    assert not torch.equal(mixed.latents[1], alone.latents[1])
    assert (mixed.state.calls, mixed.state.rows) == (2 * STEPS, 4 * STEPS)


@pytest.mark.covers("38.7")
def test_the_formula_is_that_of_classifier_free_guidance(generator):
    """Always the same reference and scale: a fixed reference, whose term is that of classifier-free guidance."""
    rule = GradientFreeRule(scale=ScalePolicy(rule="linear", lowest=2.5, highest=2.5))
    torn = [[0.0, 0, 9, 0, 0], [0.0, 0, 9, 0, 0], [9.0, 0, 0, 0, 0]]
    run = Run(generator, said(*torn), rule)
    other = plain(generator, [classifier_free(2.5, generator.encode_classes([2, 2, 0]))])
    torch.testing.assert_close(run.latents, other.latents, atol=1e-4, rtol=0)
    assert run.reported[0].tolist() == [2, 2, 0]


@pytest.mark.covers("38.6")
def test_the_reference_call_gets_the_same_latents_and_time(generator):
    calls = []
    hook = generator.denoiser.network.register_forward_pre_hook(
        lambda _, given, named: calls.append((given[0].clone(), given[1].clone(), named["class_labels"])),
        with_kwargs=True,
    )
    try:
        Run(generator, said(*[[0.0, 0, 9, 0, 0]] * 3))
    finally:
        hook.remove()
    assert len(calls) == 2 * STEPS
    for own, reference in zip(calls[::2], calls[1::2], strict=True):
        assert torch.equal(own[0], reference[0])
        assert torch.equal(own[1], reference[1])
        assert own[2].tolist() == [3, 1, 4]
        assert reference[2].tolist() == [2, 2, 2]


@pytest.mark.covers("38.2")
def test_the_classifier_sees_the_decoded_estimate(generator, classifier):
    seen = []
    watching = Classifier(lambda images: seen.append(images.clone()) or classifier(images), class_names="abcde")
    run = Run(generator, lambda view: read_estimates(watching, view))
    assert len(seen) == STEPS
    for images, view in zip(seen, run.views, strict=True):
        estimate = (view.latents - view.sigma * view.prediction) / view.alpha
        torch.testing.assert_close(images, (estimate / 2 + 0.5).clamp(0, 1))
        assert not torch.allclose(images, (view.latents / 2 + 0.5).clamp(0, 1))


@pytest.mark.covers("38.3")
def test_references_are_chosen_anew_for_each_step_and_sample(generator):
    def read(view):
        scores = torch.zeros(len(view), CLASSES)
        for row in range(len(view)):
            scores[row, (view.index + row) % CLASSES] = 9.0
        return scores

    run = Run(generator, read)
    chosen = torch.stack([run.deciding.log[index].reference for index in range(STEPS)])
    expected = torch.tensor([[(step + row) % CLASSES for row in range(3)] for step in range(STEPS)])
    differs = expected != OWN
    assert torch.equal(chosen[differs], expected[differs])
    assert bool((chosen != OWN).all())


@pytest.mark.covers("38.1")
def test_nothing_is_differentiated(generator, classifier):
    grads = []
    module = classifier.module
    handle = module.register_forward_hook(
        lambda layer, given, output: grads.append(
            (torch.is_grad_enabled(), given[0].requires_grad, output.requires_grad, output.grad_fn)
        )
    )
    try:
        with torch.enable_grad(), classifier.counting() as spent:
            run = Run(generator, lambda view: read_estimates(classifier, view))
    finally:
        handle.remove()
    assert grads == [(False, False, False, None)] * STEPS
    assert (spent().queries, spent().gradients) == (3 * STEPS, 0)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert run.latents.grad_fn is None
    for decision in run.deciding.log.values():  # all that outlives a step: a few numbers for each sample
        assert decision.scale.numel() == decision.reference.numel() == 3
        assert decision.scale.grad_fn is None


@pytest.mark.covers("38.1")
def test_nothing_of_a_step_is_kept(generator, classifier):
    """Latents, predictions and estimates of a step are gone when the next but one is looked at."""
    steps, gone = [], []

    def read(view):
        gc.collect()
        gone.append([held() is None for held in steps[:-1]])
        steps.append(weakref.ref(view))
        return read_estimates(classifier, view)

    sampler = Sampler(generator, steps=STEPS)
    deciding = Deciding(GradientFreeRule(), read, OWN, seeded(SEEDS))
    term = away_from_confusion(deciding, lambda classes: generator.encode_classes(classes.tolist()))
    sampler.run(sampler.start(seeded(SEEDS)), generator.encode_classes(OWN.tolist()), guidance=[term])
    assert gone == [[True] * max(step - 1, 0) for step in range(STEPS)]


def test_the_batch_changes_nothing(generator, classifier):
    for policy in (ReferencePolicy(), ReferencePolicy("sampled"), ReferencePolicy("even")):
        rule = GradientFreeRule(policy)
        together = Run(generator, lambda view: read_estimates(classifier, view), rule)
        for row in range(3):
            alone = Run(
                generator, lambda view: read_estimates(classifier, view), rule, OWN[[row]], SEEDS[row : row + 1]
            )
            torch.testing.assert_close(alone.latents[0], together.latents[row], atol=2e-3, rtol=0)
            assert [int(one.reference[0]) for one in alone.deciding.log.values()] == [
                int(one.reference[row]) for one in together.deciding.log.values()
            ]


def test_drawn_references_are_drawn_anew_in_each_step(generator):
    rule = GradientFreeRule(ReferencePolicy("even"))
    flat = said(*[[0.0] * CLASSES] * 3)
    chosen = [torch.stack([one.reference for one in Run(generator, flat, rule).deciding.log.values()]) for _ in "ab"]
    assert torch.equal(*chosen)
    assert len({tuple(step.tolist()) for step in chosen[0]}) > 1  # each step draws anew
