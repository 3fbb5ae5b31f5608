"""Gradient-free guidance: what a step costs, joint use with other guidance, and what is told."""

import math
from dataclasses import replace

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.methods.generation.teachers import read_estimates
from snellen.models.diffusion.guidance import ReferenceGuidance, autoguidance, classifier_free
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.gradient_free_guidance.confusion import ScalePolicy
from snellen.systems.gradient_free_guidance.gradient_free import (
    GradientFreeRule,
    Tally,
    away_from_confusion,
    confused_autoguidance,
    decision_rows,
    mixed_reference,
    mixing_policy,
)
from tests.methods.generation.gradient_free_runs import (
    CERTAIN,
    CLASSES,
    STEPS,
    Run,
    counted_calls,
    plain,
    said,
)


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
        preparation=Preprocessing(size=(24, 24), resize="shorter", resize_to=(28, 28)),
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
def test_every_decision_is_reported(generator):
    torn = [[0.0, 0, 9, 0, 0], CERTAIN[1], [math.nan] * CLASSES]
    run = Run(generator, said(*torn))
    told = decision_rows(run.deciding, "abcde")
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
    assert decision_rows(seldom.deciding, "abcde")[2] == {"guided": [], "mean scale": 1.0, "unread": 2}
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
