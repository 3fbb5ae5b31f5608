"""Gradient-free guidance on networks in the shape of the public ones: what it costs, equals, remembers and tells."""

import gc
import math
import weakref
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from snellen.classifier import Classifier
from snellen.diffusion.guidance import ReferenceGuidance, autoguidance, classifier_free
from snellen.diffusion.loading import load_generator
from snellen.diffusion.sampler import Sampler, seeded
from snellen.diffusion.smoke import fill, write_smoke_folder
from snellen.errors import InputError
from snellen.guidance.confusion import ReferencePolicy, ScalePolicy
from snellen.guidance.estimates import read_estimates
from snellen.guidance.gradient_free import (
    Deciding,
    GradientFreeRule,
    away_from_confusion,
    confused_autoguidance,
    mixed_reference,
    mixing_policy,
)
from snellen.guidance.told_decisions import Tally, told_of
from snellen.preparation import Preparation
from snellen.randomness import Randomness

STEPS, CLASSES = 4, 5
OWN = torch.tensor([3, 1, 4])
SEEDS = (11, 12, 13)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("gradient-free")
    for name, seed in (("class-unet", 0), ("class-unet", 1), ("dit", 0)):
        write_smoke_folder(name, made / f"{name}-{seed}", seed=seed)
    return made


@pytest.fixture(scope="module")
def generator(folders):
    return load_generator(f"diffusers:{folders / 'class-unet-0'}")


@pytest.fixture(scope="module")
def weak(folders):
    return load_generator(f"diffusers:{folders / 'class-unet-1'}").denoiser


def network(gain=40.0):
    """A small classifier of random weights, so sure of some images that it is confused of others."""
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )
    fill(made, Randomness(0))
    made[-1].weight.data *= gain
    return made


@pytest.fixture(scope="module")
def classifier():
    return Classifier(network(), class_names="abcde", preparation=Preparation(size=(32, 32)))


@contextmanager
def counted_calls(generator):
    """Rows of each call of the denoiser."""
    calls = []
    handle = generator.denoiser.network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    try:
        yield calls
    finally:
        handle.remove()


class Run:
    """One guided run, with everything that was asked on the way."""

    def __init__(self, generator, read, rule=None, own=OWN, seeds=SEEDS, terms=None, solver="ddim"):
        self.shown, self.views, sampler = [], [], Sampler(generator, steps=STEPS, solver=solver)

        def looking(view):
            self.views.append(view)
            self.shown.append(view.index)
            return read(view)

        self.told = []

        def told(classes):
            self.told.append(classes)
            return generator.encode_classes(classes.tolist())

        self.deciding = Deciding(rule or GradientFreeRule(), looking, own, seeded(seeds))
        made = (terms or (lambda deciding, told: [away_from_confusion(deciding, told)]))(self.deciding, told)
        self.state = sampler.run(sampler.start(seeded(seeds)), generator.encode_classes(own.tolist()), guidance=made)
        self.latents = self.state.latents


def said(*logits):
    """A classifier that says the same of everything."""
    return lambda view: torch.tensor(logits)[: len(view)]


def plain(generator, terms=(), own=OWN, seeds=SEEDS, solver="ddim"):
    sampler = Sampler(generator, steps=STEPS, solver=solver)
    return sampler.run(sampler.start(seeded(seeds)), generator.encode_classes(own.tolist()), guidance=list(terms))


CERTAIN = [[0.0, 0, 0, 900, 0], [0, 900.0, 0, 0, 0], [0, 0, 0, 0, 900.0]]


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
    assert run.told[0].tolist() == [2, 2, 0]


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


@pytest.mark.covers("38.10")
def test_it_looks_at_each_second_step_and_shares_the_call_in_between(generator):
    torn = said(*[[0.0, 0, 9, 0, 0]] * 3)
    with counted_calls(generator) as calls:
        run = Run(generator, torn, GradientFreeRule(every=2))
    assert run.shown == [0, 2]
    assert calls == [3, 3, 6, 3, 3, 6]
    assert run.deciding.classified == 6
    assert run.deciding.log[1] is run.deciding.log[0]
    each = Run(generator, torn)
    assert each.shown == [0, 1, 2, 3]
    torch.testing.assert_close(run.latents, each.latents, atol=1e-4, rtol=0)  # it says the same each time


def test_lagged_decisions_share_one_call_in_each_step(generator):
    def read(view):
        scores = torch.zeros(len(view), CLASSES)
        scores[:, view.index % 2] = 9.0
        return scores

    own = torch.tensor([3, 2, 4])
    with counted_calls(generator) as calls:
        run = Run(generator, read, GradientFreeRule(lagged=True), own)
    assert calls == [3, 6, 6, 6]
    assert [one.reference.tolist() for one in run.deciding.log.values()] == [[0] * 3, [1] * 3, [0] * 3]
    assert list(run.deciding.log) == [1, 2, 3]


def test_two_terms_get_the_same_answer_also_where_nothing_was_decided_yet(generator):
    """The first step of lagged decisions: the mixed reference is that of classifier-free guidance."""
    nothing, torn = generator.null(3), said(*[[0.0, 0, 9, 0, 0]] * 3)

    def mixed(deciding, told):
        return [*mixed_reference(deciding, told, nothing, 3.0)]

    rule = GradientFreeRule(scale=mixing_policy(ScalePolicy(), 3.0), lagged=True)
    with counted_calls(generator) as calls:
        run = Run(generator, torn, rule, terms=mixed)
    assert calls == [6, 9, 9, 9]
    assert run.shown == [0, 1, 2, 3]
    assert list(run.deciding.log) == [1, 2, 3]


def test_outside_its_levels_of_noise_it_costs_nothing(generator):
    solver = Sampler(generator, steps=STEPS).new_solver()
    sigmas = [solver.level(index)[1] / solver.level(index)[0] for index in range(STEPS)]
    rule = GradientFreeRule(sigmas=(sigmas[2] * 0.9, sigmas[1] * 1.1))
    with counted_calls(generator) as calls:
        run = Run(generator, said(*[[0.0, 0, 9, 0, 0]] * 3), rule)
    assert run.shown == [1, 2]
    assert calls == [3, 3, 3, 3, 3, 3]
    never = Run(generator, said(*[[0.0, 0, 9, 0, 0]] * 3), GradientFreeRule(sigmas=(1e6, math.inf)))
    assert torch.equal(never.latents, plain(generator).latents)


@pytest.mark.covers("38.9")
def test_with_autoguidance_each_network_is_called_once(generator, weak):
    def auto(threshold):
        return lambda deciding, told: [confused_autoguidance(deciding, told, weak, 2.0, threshold)]

    certain = Run(generator, said(*CERTAIN), terms=auto(0.5))
    alone = plain(generator, [autoguidance(2.0, weak)])
    assert torch.equal(certain.latents, alone.latents)
    assert (certain.state.calls, certain.state.rows) == (alone.calls, alone.rows) == (2 * STEPS, 6 * STEPS)
    torn = [[0.0, 0, 9, 0, 0], CERTAIN[1], CERTAIN[2]]
    rule = GradientFreeRule(scale=ScalePolicy(gamma=0.5))  # below autoguidance's own scale
    confused = Run(generator, said(*torn), rule, terms=auto(0.5))
    assert (confused.state.calls, confused.state.rows) == (alone.calls, alone.rows)
    by_hand = plain(generator, [ReferenceGuidance(2.0, generator.encode_classes([2, 1, 4]), weak)])
    torch.testing.assert_close(confused.latents, by_hand.latents, atol=1e-5, rtol=0)
    stronger = Run(generator, said(*torn), GradientFreeRule(scale=ScalePolicy(gamma=3.0)), terms=auto(0.5))
    assert not torch.allclose(stronger.latents[0], confused.latents[0])
    torch.testing.assert_close(stronger.latents[1:], confused.latents[1:])


@pytest.mark.covers("38.9")
def test_with_classifier_free_guidance_as_two_terms_and_as_one_reference(generator):
    nothing = generator.null(3)
    torn = said(*[[math.log(3.0), -99, -99, 0.0, -99]] * 3)  # of class 3: p = 1/4, class 0: 3/4
    own = torch.tensor([3, 3, 3])
    both = Run(
        generator,
        torn,
        own=own,
        terms=lambda deciding, told: [classifier_free(2.0, nothing), away_from_confusion(deciding, told)],
    )
    scale = float(both.deciding.log[0].scale[0])
    assert scale == pytest.approx(1 + 3 * 0.75)
    by_hand = plain(
        generator, [classifier_free(2.0, nothing), classifier_free(scale, generator.encode_classes([0] * 3))], own=own
    )
    torch.testing.assert_close(both.latents, by_hand.latents, atol=1e-4, rtol=0)

    rule = GradientFreeRule(scale=mixing_policy(ScalePolicy(), 3.0))
    with counted_calls(generator) as calls:
        mixed = Run(
            generator, torn, rule, own, terms=lambda deciding, told: [*mixed_reference(deciding, told, nothing, 3.0)]
        )
    assert calls == [6, 3] * STEPS
    parts = [
        classifier_free(1 + 2 * 0.25, nothing),
        classifier_free(1 + 2 * 0.75, generator.encode_classes([0] * 3)),
    ]
    torch.testing.assert_close(mixed.latents, plain(generator, parts, own=own).latents, atol=1e-4, rtol=0)
    sure = Run(
        generator, said(*CERTAIN), rule, terms=lambda deciding, told: [*mixed_reference(deciding, told, nothing, 3.0)]
    )
    cfg = plain(generator, [classifier_free(3.0, nothing)])
    torch.testing.assert_close(sure.latents, cfg.latents, atol=1e-5, rtol=0)


@pytest.mark.covers("38.10")
def test_latents_are_decoded_once_for_each_look_and_counted(folders):
    latent = load_generator(f"diffusers:{folders / 'dit-0'}")
    decoded = []
    handle = latent.vae.decoder.register_forward_pre_hook(lambda _, given: decoded.append(len(given[0])))
    seen = []

    def shown(images):
        seen.append(tuple(images.shape))
        return torch.zeros(len(images), 1000)

    small = Classifier(
        shown,
        class_names=[str(number) for number in range(1000)],
        preparation=Preparation(size=(24, 24), resize="shorter", resize_to=(28, 28)),
    )
    try:
        run = Run(latent, lambda view: read_estimates(small, view), GradientFreeRule(every=2))
    finally:
        handle.remove()
    assert decoded == [3, 3]
    assert seen == [(3, 3, 24, 24)] * 2
    tally = Tally()
    tally.add(run.deciding, decodes=True)
    assert (tally.classified, tally.decoded) == (6, 6)
    assert "6 of them decoded" in tally.lines("it", None)[0]


@pytest.mark.covers("38.11")
def test_every_decision_is_told(generator):
    torn = [[0.0, 0, 9, 0, 0], CERTAIN[1], [math.nan] * CLASSES]
    run = Run(generator, said(*torn))
    told = told_of(run.deciding, "abcde")
    confused = float(run.deciding.log[0].confusion[0])
    assert told[0]["guided"] == [[step, "c", round(1 + 3 * confused, 4), round(confused, 4)] for step in range(STEPS)]
    assert told[1] == {"guided": [], "mean scale": 1.0}
    assert told[2] == {"guided": [], "mean scale": 1.0, "unread": STEPS}
    assert torch.equal(run.latents[1:], plain(generator).latents[1:])  # what was not understood guides nothing
    tally = Tally()
    tally.add(run.deciding, decodes=False)
    lines = tally.lines("it", None)
    assert "guided in 33.3% of their steps" in lines[0]
    assert "mean w 1.99" in lines[0] or "mean w 2.0" in lines[0]
    assert lines[1].startswith(f"{STEPS} answers of it were not finite")
    seldom = Run(generator, said(*torn), GradientFreeRule(every=2))
    assert told_of(seldom.deciding, "abcde")[2] == {"guided": [], "mean scale": 1.0, "unread": 2}
    rarely = Tally()
    rarely.add(seldom.deciding, decodes=False)
    assert (rarely.unread, rarely.decisions) == (2, 3 * STEPS)
    assert Tally() == tally
    assert Tally().lines("it", None) == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "each m-th step"),
        ({"sigmas": (2.0, 1.0)}, "the lower one first"),
        ({"sigmas": (-1.0, 1.0)}, "0 or more"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_rules_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        replace(GradientFreeRule(), **settings)
