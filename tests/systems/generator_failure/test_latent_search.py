"""Latents: only the unmodified sampler accepts, calls are counted, rivals are equal, and the prior is kept."""

import copy
import dataclasses

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.systems.generator_failure.latent_search import (
    DISTORTED,
    UNRELATED,
    LatentSearch,
    Prompts,
    search_latents,
)
from snellen.systems.generator_failure.normality import non_gaussian_rate, normality, penalty
from tests.systems.generator_failure.parts import SHAPES, Stub, discriminator, drawing

STAR = Prompts("star", ("a star",))


def searches(count=3, seed=0):
    return Randomness(seed).for_examples([str(number) for number in range(count)])


@pytest.fixture(scope="module")
def found():
    one = drawing(steps=5)
    return one, search_latents(one, discriminator(), STAR, LatentSearch(calls=24, rate=0.2), searches(4))


@pytest.mark.covers("7.2")
def test_an_accepted_latent_is_that_of_images_that_the_sampler_draws_again_bit_for_bit(found):
    one, finds = found
    cases = [find for find in finds if find.mode is not None]
    assert cases
    for case in cases:
        again = one.draw(case.latent[None], one.condition(["a star"]))
        assert torch.equal(again, case.images)
        assert discriminator().verdict(again, "star").failed.all()


def test_the_search_succeeds_more_often_than_random_latents_at_equal_calls(found):
    one, finds = found
    rivals = search_latents(one, discriminator(), STAR, LatentSearch(rule="random", calls=24), searches(4))
    assert sum(find.mode is not None for find in finds) > sum(find.mode is not None for find in rivals)
    assert all(rival.mode is not None or rival.calls == 23 for rival in rivals)  # one is kept back for acceptance


@pytest.mark.covers("7.3")
def test_a_search_without_prior_leaves_it_and_one_with_it_does_not(monkeypatch):
    """Neither ever succeeds, so that both walk equally far."""
    one, walking, verdict = drawing(), copy.copy(discriminator()), discriminator().verdict

    def never(images, name):
        return dataclasses.replace(verdict(images, name), failed=torch.zeros(len(images), dtype=torch.bool))

    monkeypatch.setattr(walking, "verdict", never)
    rates = {}
    for kept in (True, False):
        numbers = LatentSearch(calls=32, projected=kept, prior=100.0 if kept else 0.0)
        finds = search_latents(one, walking, STAR, numbers, searches(4))
        rates[kept] = non_gaussian_rate([normality(find.latent) for find in finds])
    assert rates[False] == 1.0
    assert rates[True] <= 0.25


@pytest.mark.covers("7.2")
def test_a_surrogate_that_fails_is_accepted_by_no_one_where_the_sampler_does_not():
    one, calls = drawing(), []

    def fails(image, name):
        calls.append(image)
        return len(calls) % 2 == 1  # the surrogate's image, and never the sampler's, which comes next

    (find,) = search_latents(one, Stub(fails), STAR, LatentSearch(calls=10), searches(1))
    assert find.mode is None
    assert find.images is None
    assert len(calls) > 4


@pytest.mark.covers("7.9")
@pytest.mark.parametrize("rule", ["residual", "backprop", "evolution", "random"])
def test_rules_share_start_calls_and_acceptance(rule):
    one = drawing()
    finds = search_latents(one, Stub(lambda image, name: False), STAR, LatentSearch(rule=rule, calls=6), searches(2))
    assert [find.calls for find in finds] == [5, 5]  # one is kept back for acceptance
    assert one.calls == 10
    starts = searches(2).normal("start", one.shape)
    assert all(torch.equal(find.start, start) for find, start in zip(finds, starts, strict=True))
    succeeds = Stub(lambda image, name: True)
    (find,) = search_latents(one, succeeds, STAR, LatentSearch(rule=rule), searches(1))
    assert (find.mode, find.calls) == (UNRELATED, 2)  # one look, and one of the unmodified sampler


def test_evolution_and_random_latents_stay_draws_of_the_prior():
    one, never = drawing(), Stub(lambda image, name: False)
    for rule in ("evolution", "random"):
        finds = search_latents(one, never, STAR, LatentSearch(rule=rule, calls=9), searches(8))
        assert non_gaussian_rate([normality(find.latent) for find in finds]) <= 0.25


def test_modes_follow_from_held_out_prompts_and_from_what_is_seen():
    one = drawing()
    others = tuple((f"a {name}", name) for name in SHAPES if name != "star")
    everything = Stub(lambda image, name: True)
    (find,) = search_latents(one, everything, Prompts("star", ("a star",), others), LatentSearch(), searches(1))
    assert (find.mode, find.persists, find.calls) == (DISTORTED, 1.0, 7)
    star = Stub(lambda image, name: name == "star")
    (find,) = search_latents(one, star, Prompts("star", ("a star",), others), LatentSearch(), searches(1))
    assert (find.mode, find.persists) == (UNRELATED, 0.0)
    nothing = Stub(lambda image, name: name == "star", seen="")
    (find,) = search_latents(one, nothing, Prompts("star", ("a star",), others), LatentSearch(calls=20), searches(1))
    assert find.mode is None


def test_no_search_spends_more_than_its_calls():
    one = drawing()
    two = Prompts("star", ("a star", "a red star"), (("a ring", "ring"),) * 3)
    for calls in (1, 3, 5, 9):
        finds = search_latents(
            one, Stub(lambda image, name: True, seen=""), two, LatentSearch(calls=calls), searches(2)
        )
        assert all(find.calls <= calls for find in finds)
        assert all(bool(find.reason) is (calls < 7) for find in finds)  # a look, acceptance, and held-out prompts


def test_numbers_that_are_not_finite_end_a_search_as_invalid_and_no_other():
    one = drawing()

    class Broken(Stub):
        def loss(self, images, name, rng):
            loss = super().loss(images, name, rng)
            return torch.where(torch.arange(len(loss)) == 0, torch.nan, loss)

    finds = search_latents(one, Broken(lambda image, name: False), STAR, LatentSearch(calls=3), searches(1))
    assert (finds[0].invalid, finds[0].mode) == (True, None)


def test_the_sign_of_the_gradient_is_a_step_too():
    one = drawing()
    numbers = LatentSearch(step="sign", rate=0.05, calls=3, projected=False, prior=0.0)
    (find,) = search_latents(one, Stub(lambda image, name: False), STAR, numbers, searches(1))
    moved = (find.latent - find.start).abs()
    assert moved.max().item() == pytest.approx(0.05, rel=1e-3)


def test_the_penalty_keeps_moments_with_and_without_the_projection():
    """The projection leaves mean and variance to it."""
    one, never = drawing(), Stub(lambda image, name: False)
    for projected in (False, True):
        far = {}
        for weight in (0.0, 100.0):
            numbers = LatentSearch(calls=8, projected=projected, prior=weight, rate=0.1)
            finds = search_latents(one, never, STAR, numbers, searches(1))
            far[weight] = sum(penalty(find.latent[None]).item() for find in finds)
        assert far[100.0] < far[0.0] / 2
