"""The search for viewpoints: what it asks, what it learns, and when it ends."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from snellen.core.criterion import Misclassified, Targeted
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import viewpoints_of
from snellen.systems.viewpoints.mixture import ViewpointMixture, draw_viewpoints_of, first_mixture
from snellen.systems.viewpoints.search import (
    AT_ONCE,
    SearchSettings,
    ask,
    centred_ranks,
    judge,
    search_viewpoints,
    started,
    tell,
)
from snellen.systems.viewpoints.views import Views

RNG = Randomness(0).for_examples(["mug"])


def look(viewpoints, blank=None):
    """A picture of one pixel per coordinate, of integers: nothing in it has a gradient."""
    pixels = (viewpoints * 1000).round().long()
    return Views(pixels, torch.zeros(len(viewpoints), dtype=torch.bool) if blank is None else blank(viewpoints))


def behind(pixels):
    """Scores of two classes: class 0 is lost as the azimuth grows beyond 60 degrees."""
    azimuth = pixels[:, 1].double() / 1000
    return torch.stack([60 - azimuth, azimuth - 60], 1) / 20


def run(score=behind, looked=look, criterion=None, start=None, iterations=None, label=0, **settings):
    given = {"components": 2, "popsize": 21, "iterations": 15, "start_spread": 0.3, **settings}
    return search_viewpoints(
        looked, score, label=label, criterion=criterion or Misclassified(), settings=SearchSettings(**given), rng=RNG,
        start=start, iterations=iterations,
    )  # fmt: skip


def azimuth_of(mixture):
    return float(draw_viewpoints_of(mixture, 200, RNG.child("judged"))[:, 1].mean())


@pytest.mark.covers("11.1", "11.3")
def test_the_mixture_moves_to_where_the_class_is_lost_by_queries_alone():
    asked = []

    def scored(pixels):
        asked.append(len(pixels))
        assert not torch.is_grad_enabled()
        return behind(pixels)

    found = run(scored)
    assert azimuth_of(found.mixture) > 100
    assert (found.ended, found.iterations, found.renders) == ("ran", 15, 15 * 22)
    assert asked == [22] * 15
    towards = run(criterion=Targeted(), label=0)
    assert azimuth_of(towards.mixture) < -100


@pytest.mark.covers("11.4")
def test_draws_are_mirrored_and_only_the_order_of_the_fitness_counts():
    state = started(first_mixture(3, deviation=0.1, spread=1.0, rng=RNG))
    candidates = ask(state, 21, RNG)
    plus, minus, means = candidates.unbounded.split([10, 10, 3])
    middle = state.mixture.means[candidates.components[:, 0]]
    assert torch.allclose((plus + minus) / 2, middle)
    assert torch.equal(means, state.mixture.means)
    fitness = candidates.unbounded[:, 1] * 2 + candidates.unbounded[:, 0]
    settings = SearchSettings(components=3, popsize=21)
    moved = tell(state, candidates, fitness, settings)
    for other in (fitness + 100, fitness.exp(), fitness.double() ** 3 * 7 - 5):
        again = tell(state, candidates, other, settings)
        assert torch.equal(again.mixture.means, moved.mixture.means)
        assert torch.equal(again.mixture.deviations, moved.mixture.deviations)
    assert not torch.equal(tell(state, candidates, -fitness, settings).mixture.means, moved.mixture.means)
    ranks = centred_ranks(torch.tensor([2.0, -math.inf, 2.0, 9.0]))
    assert ranks.tolist() == pytest.approx([0.0, -0.5, 0.0, 0.5])


def single_gaussian(mean, deviation, steps, popsize, settings):
    """ViewFool's search, written for one Gaussian: no components, no one-hot, its entropy in closed form."""
    velocity = torch.zeros(6, dtype=torch.float64)
    for step in range(steps):
        noise = RNG.child("step", step).normal("noise", ((popsize - 1) // 2, 6))[0].double()
        draws = torch.cat([mean + deviation * noise, mean - deviation * noise, mean[None]])
        value = torch.nn.functional.cross_entropy(
            behind((viewpoints_of(draws) * 1000).round()), torch.zeros(len(draws), dtype=torch.long), reduction="none"
        )
        ranks = torch.argsort(torch.argsort(value)).double() / (len(value) - 1) - 0.5
        up, down, centre = ranks[: len(noise)], ranks[len(noise) : -1], ranks[-1]
        bent = torch.tanh(mean + deviation * noise)
        fold = -2 * bent * (1 - bent**2) / (1 - bent**2 + 1e-8)
        slope = 50 * deviation * ((up - down)[:, None] * noise).mean(0) + settings.entropy_weight * fold.mean(0)
        curve = deviation * (((up + down)[:, None] / 2 - centre) * (noise**2 - 1)).mean(0)
        wider = 1 / deviation + (fold * noise).mean(0)
        velocity = 0.9 * velocity + 0.1 * slope
        mean = mean + 0.1 * 0.99**step * velocity
        change = 0.2 * (curve + settings.entropy_weight * wider)
        deviation = deviation + torch.maximum(torch.minimum(change, 0.2 * deviation), -0.2 * deviation)
        deviation = torch.where(deviation > 0.01, deviation * 0.999, deviation).clamp(0.05, 0.15)
    return mean, deviation


@pytest.mark.covers("11.12")
def test_one_component_is_a_single_gaussian_step_for_step():
    settings = SearchSettings(components=1, popsize=11, iterations=6, start_spread=0)
    first = torch.full((6,), 0.1, dtype=torch.float64)
    mean, deviation = single_gaussian(first * 0, first, 6, 11, settings)
    found = run(components=1, popsize=11, iterations=6, start_spread=0)
    assert torch.allclose(found.mixture.means[0], mean, atol=1e-10)
    assert torch.allclose(found.mixture.deviations[0], deviation, atol=1e-10)
    assert found.mixture.weights.tolist() == [1.0]


@pytest.mark.parametrize("factorised", [False, True])
def test_each_component_learns_of_its_own_draws_alone(factorised):
    first = first_mixture(3, deviation=0.1, spread=1.0, rng=RNG, factorised=factorised)
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    state = started(replace(first, weights=shares[:, None].expand(3, 6) if factorised else shares))
    settings = SearchSettings(components=3, popsize=41, entropy_weight=0.0, deviation_rate=1e-3, weight_rate=0.01)
    candidates = ask(state, 41, RNG)
    moved = tell(state, candidates, candidates.unbounded[:, 1].cos() + candidates.unbounded[:, 4], settings)
    ranks = centred_ranks(candidates.unbounded[:, 1].cos() + candidates.unbounded[:, 4]).tolist()
    for k in range(3):
        for d in range(6):
            climbed = curved = worth = 0.0
            for p in range(20):
                if int(candidates.components[p, d]) == k:
                    noise, (up, down, middle) = float(candidates.noise[p, d]), (ranks[p], ranks[20 + p], ranks[40 + k])
                    climbed += (up - down) * noise * 0.1
                    curved += ((up + down) / 2 - middle) * (noise**2 - 1) * 0.1
                    worth += (up + down) / 2
            expected = 20 * float(shares[k])
            step = 0.1 * (1 - settings.momentum) * 50 * climbed / expected
            assert float(moved.mixture.means[k, d] - first.means[k, d]) == pytest.approx(step, abs=1e-9)
            assert float(moved.mixture.deviations[k, d]) == pytest.approx((0.1 + 1e-3 * curved / expected) * 0.999)
            weight = moved.mixture.weights[k, d] if factorised else moved.mixture.weights[k]
            if factorised or d == 0:
                assert float(weight) == pytest.approx(float(shares[k]) + 0.01 * worth / expected, rel=2e-3)


@pytest.mark.covers("11.5")
def test_without_entropy_deviations_end_smaller_and_components_lie_closer():
    def hill(pixels):
        place = pixels.double() / 1000
        away = (place[:, 1] / 60).square() + (place[:, 2] / 30).square() + (place[:, 0] / 10).square()
        return torch.stack([away, -away], 1)

    wide, narrow = (run(hill, entropy_weight=weight, least_deviation=0.0, iterations=25) for weight in (0.05, 0.0))
    assert float(narrow.mixture.deviations.mean()) < 0.8 * float(wide.mixture.deviations.mean())
    middles = [float((one.mixture.means[0] - one.mixture.means[1]).norm()) for one in (narrow, wide)]
    assert middles[0] < middles[1]


@pytest.mark.covers("11.7")
def test_a_search_that_goes_on_keeps_means_and_deviations_and_parity_forgets_the_deviations():
    start = ViewpointMixture(
        torch.full((2, 6), 0.7).double(), torch.full((2, 6), 0.06).double(), torch.full((2,), 0.5).double()
    )
    none = run(start=start, iterations=0)
    assert torch.equal(none.mixture.means, start.means)
    assert torch.equal(none.mixture.deviations, start.deviations)
    one = run(start=start, iterations=1)
    assert float((one.mixture.deviations / start.deviations - 1).abs().max()) <= 0.2 + 1e-9
    assert float((one.mixture.means - start.means).abs().max()) < 0.2
    parity = run(start=start, iterations=0, parity=True)
    assert parity.mixture.deviations.unique().tolist() == pytest.approx([0.1])


@pytest.mark.covers("11.13")
def test_what_cannot_be_searched_ends_at_once_or_is_refused():
    for wrong, told in (({"components": 0}, "greater than or equal to 1"), ({"popsize": 20}, "must be odd")):
        with pytest.raises(ValidationError, match=told):
            SearchSettings(**wrong)
    lost = run(lambda pixels: torch.full((len(pixels), 2), math.nan))
    assert (lost.ended, lost.iterations, lost.renders) == ("not finite", 0, 22)
    unseen = run(looked=lambda v: look(v, lambda v: torch.ones(len(v), dtype=torch.bool)))
    assert (unseen.ended, unseen.iterations, unseen.blanks) == ("blank", 0, 22)


def test_many_views_are_judged_a_part_at_a_time_and_in_their_order():
    viewpoints, asked = torch.zeros(AT_ONCE + 3, 6, dtype=torch.float64), []
    viewpoints[:, 1] = torch.arange(len(viewpoints)) * 0.1

    def looked(part):
        asked.append(len(part))
        return look(part, lambda v: v[:, 1] > 51.05)

    judged = judge(looked, behind, viewpoints, label=0, criterion=Misclassified())
    assert asked == [AT_ONCE, 3]
    assert judged.blank.nonzero().flatten().tolist() == [511, 512, 513, 514]
    assert torch.equal(judged.scores[:511], behind(look(viewpoints).images)[:511].float())
    assert bool(judged.scores[511:].isnan().all())


@pytest.mark.covers("11.13")
def test_views_that_do_not_show_the_object_are_no_success_and_not_sought():
    # Class 0 is lost only where nothing is seen: beyond 60 degrees of azimuth.
    found = run(looked=lambda v: look(v, lambda v: v[:, 1] > 60), iterations=20)
    assert azimuth_of(found.mixture) < 60
    assert 0 < found.blanks < found.renders / 2


def test_a_search_may_end_with_the_first_step_whose_views_all_succeed():
    early = run(lambda pixels: behind(pixels) - torch.tensor([500.0, 0]), stop_when_fooled=True)
    assert (early.ended, early.iterations) == ("fooled", 0)
    # Some views that succeed are not enough.
    moved = run(stop_when_fooled=True, start_spread=0, iterations=40)
    assert moved.ended == "fooled"
    assert 0 < moved.iterations < 40
    assert azimuth_of(moved.mixture) > 75
    late = run(lambda pixels: behind(pixels) - torch.tensor([500.0, 0]))
    assert (late.ended, late.iterations) == ("ran", 15)
    # What that costs: the entropy had no time to widen the mixture.
    assert float(early.mixture.deviations.mean()) < float(late.mixture.deviations.mean())


def test_weights_may_follow_the_fitness_and_parity_has_a_mixture_for_each_coordinate():
    start = first_mixture(2, deviation=0.1, spread=0.0, rng=RNG)
    far = ViewpointMixture(torch.tensor([[0.0], [1.0]]).double().expand(2, 6).clone(), start.deviations, start.weights)
    found = run(start=far, iterations=8, weight_rate=0.2, entropy_weight=0.0, mean_rate=1e-6)
    assert float(found.mixture.weights[1]) > 0.6
    assert float(found.mixture.weights.sum()) == pytest.approx(1)
    parity = run(parity=True)
    assert parity.mixture.factorised
    assert azimuth_of(parity.mixture) > 60
