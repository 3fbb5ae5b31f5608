"""The experiment of system 13: its worlds, and figures that follow from votes alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.smoothing.bounds import largest_radius, lower_bound, proven_radius, published_radius
from snellen.methods.smoothing.branches import SmoothedNetwork, half_masks
from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing
from snellen.reproduction.dual_smoothing.experiment import (
    PERCEPTRON,
    SIGMA,
    SMALL,
    SMOKE,
    Arm,
    _attacked,
    compared,
    dual_smoothing,
    sigma_of,
    trained_networks,
)
from snellen.reproduction.dual_smoothing.materials import (
    CLASSES,
    VARIATION,
    Sizes,
    blocks,
    gratings,
    independent_pixels,
)
from snellen.reproduction.dual_smoothing.votes import Votes, votes_of
from snellen.reproduction.sample import mean_of

SIZES = Sizes(24, 12)


def pixels(images):
    return np.stack([np.asarray(images.read(row))[..., 0] for row in range(len(images))]).astype(float)


def test_gratings_are_smooth_and_every_split_has_its_own():
    train, test = (gratings(split, SIZES, 3) for split in ("train", "test"))
    smooth = pixels(test)
    assert np.abs(np.diff(smooth, axis=2)).mean() / smooth.std() < 0.6
    assert set(train.labels.tolist()) == set(range(CLASSES))
    assert not set(train.ids) & set(test.ids)
    assert not np.array_equal(pixels(train)[:12], smooth)


@pytest.mark.parametrize(("world", "alike"), [(blocks, 1.0), (independent_pixels, 0.0)])
def test_neighbours_of_blocks_say_the_same_and_independent_pixels_nothing_of_each_other(world, alike):
    images = world("test", Sizes(0, 600), 5)
    values, labels = pixels(images), images.labels
    for number in (0, 1):
        own = values[labels == number]
        apart = own - own.mean(0)
        left, right = apart[:, :, ::2], apart[:, :, 1::2]
        # Pixels of one block stand side by side from the first column on.
        assert np.mean(left * right) / np.mean(left * left) == pytest.approx(alike, abs=0.1)
    patterns = patterns_of(values, labels)
    again = world("train", Sizes(600, 0), 5)
    assert np.array_equal(patterns[0], pixels(again)[again.labels == 0].mean(0) > 127.5), "one pattern for all splits"


def patterns_of(values, labels):
    return np.stack([values[labels == number].mean(0) > 127.5 for number in range(CLASSES)])


@pytest.mark.parametrize("world", [blocks, independent_pixels])
@pytest.mark.parametrize("seed", [5, 6])
def test_any_two_patterns_differ_in_half_of_the_pixels_and_in_half_of_either_half(world, seed):
    images = world("test", Sizes(0, 300), seed)
    patterns = patterns_of(pixels(images), images.labels)
    for row, one in enumerate(patterns):
        for other in patterns[:row]:
            differing = (one != other).astype(int)
            assert [int(differing[mask.numpy()].sum()) for mask in half_masks(16, 16)] == [64, 64]


def deviation_across(world, seed):
    """Deviation of a class along what tells two others apart, where its contrast has no part: mean over classes."""
    images = world("test", Sizes(0, 1200), seed)
    values, labels = pixels(images), images.labels
    signs = np.where(patterns_of(values, labels), 1.0, -1.0)
    found = []
    for number in range(CLASSES):
        one, other = (signs[(number + step) % CLASSES] for step in (1, 2))
        along = (one - other) / np.linalg.norm(one - other)
        found.append(np.std(np.tensordot(values[labels == number], along, 2)) / 255)
    return float(np.mean(found))


def test_both_worlds_of_patterns_deviate_equally_along_what_tells_classes_apart():
    for world in (blocks, independent_pixels):
        assert deviation_across(world, 5) == pytest.approx(VARIATION / 3**0.5, rel=0.08), world.__name__


def test_halves_and_whole_images_go_on_from_one_network_for_as_many_epochs(monkeypatch):
    calls = []
    fit = GaussianSmoothing.fit

    def noted(self, data, *, base, **given):
        made = fit(self, data, base=base, **given)
        calls.append((self, base, made))
        return made

    monkeypatch.setattr(GaussianSmoothing, "fit", noted)
    arm = Arm(independent_pixels, PERCEPTRON, Sizes(12, 6), 200, epochs=1, further=2, view="zeros")
    found = trained_networks("independent", arm, 0, Randomness(0), Silent())
    first, plain, pair = calls
    assert plain[1] is first[2]
    assert pair[1] is first[2]
    assert (first[0].plan.epochs, plain[0].plan.epochs, pair[0].plan.epochs) == (1, 2, 2)
    assert (plain[0].sigma, pair[0].sigma) == (SIGMA, sigma_of(True))
    assert pair[0].noise.view == found[True].module.record.view == "zeros"
    assert [len(found[split_pixels].module.networks) for split_pixels in (False, True)] == [1, 2]


def votes_with(counts, label=0, samples=1000):
    """Votes of one image for three classes, by branch."""
    estimation = torch.tensor([[[count, samples - count, 0] for count in counts]])
    half = estimation // 2
    return Votes(estimation, {samples // 2: half, samples: estimation}, torch.tensor([label]), 0.5)


@pytest.mark.covers("13.9")
def test_figures_follow_from_the_votes_and_an_error_counts_nothing():
    votes = votes_with([990, 900])
    bounds = [lower_bound(count, 1000, 0.0005) for count in (990, 900)]
    given = compared(votes_with([950]), votes, 1000)
    figures = {name: mean_of(value) for name, value in given.items()}
    assert figures["dual.acr"] == pytest.approx(proven_radius(bounds, 0.5))
    assert figures["dual_half.acr"] < figures["dual.acr"]
    assert (figures["dual.at_0.5"], figures["dual.at_1.25"], figures["dual.accuracy"]) == (1.0, 0.0, 1.0)
    wrong = compared(votes_with([950]), votes_with([990, 900], label=1), 1000)
    assert [mean_of(wrong[name]) for name in ("dual.acr", "dual.at_0", "dual.accuracy")] == [0.0, 0.0, 0.0]
    assert wrong["overstated"] is None, "no ratio to a radius of nothing"
    # The published bounds have the whole level each.
    whole = [lower_bound(count, 1000, 0.001) for count in (990, 900)]
    assert figures["published.acr"] == pytest.approx(published_radius(whole, 0.5))
    assert figures["published.acr"] > figures["dual.acr"]
    assert figures["overstated"] == pytest.approx(figures["published.acr"] / figures["dual.acr"] - 1)
    assert figures["difference"] == pytest.approx(figures["dual.acr"] - figures["plain.acr"])


@pytest.mark.covers("13.12")
def test_the_attack_is_judged_by_the_votes_of_the_images_that_it_moved():
    class Bright(nn.Module):
        def forward(self, images):
            # Of a half: the other pixels are 0.
            value = images.flatten(1).mean(1) - 0.25
            return torch.stack([-value, value], 1)

    pair = SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 2}, sigma=sigma_of(True), view="zeros")
    pair.networks = nn.ModuleList([Bright(), Bright()])
    classifier = Classifier(pair.eval(), class_names=["dark", "light"])
    images, labels, rng = torch.full((2, 3, 4, 4), 0.62), torch.tensor([1, 1]), Randomness(0)
    votes = votes_of(
        classifier, images, labels, sigma=sigma_of(True), split_pixels=True, samples=(500, 1000), rng=rng,
        progress=Silent(), task="votes",
    )  # fmt: skip
    budget = replace(SMOKE, attacked=2, steps=4, copies=4, judging=500)
    found = _attacked(classifier, images, votes, budget, 1000, rng, Silent())
    # The true radius is 0.12 · √16 = 0.48, of which about four fifths are proven.
    assert 0.3 < votes.radii(1000).max() < 0.48
    assert found == {"attack.changed": 0.0, "attack.changed_beyond": 1.0}
    wrong = replace(votes, labels=1 - votes.labels)
    nothing = _attacked(classifier, images, wrong, budget, 1000, rng, Silent())
    assert nothing == {"attack.changed": None, "attack.changed_beyond": None}, "no image was certified"


@pytest.mark.parametrize("budget", [SMALL, SMOKE])
def test_perceptrons_see_bare_halves_and_convolutional_networks_the_published_view(budget):
    for arm in budget.arms.values():
        assert arm.view == ("zeros" if arm.network["name"] == "perceptron" else "contrast")


def test_a_claim_that_holds_where_nothing_was_learnt_or_nothing_can_vanish_is_not_judged():
    system = find_system("13")
    gates = {claim.id: set(claim.gates) for claim in system.claims}
    assert {"gratings_learnt", "brief_learnt"} == gates["13.19"]
    assert {"blocks_learnt", "independent_learnt", "blocks_gain"} == gates["13.18"]
    (effect,) = (gate for gate in system.gates if gate.id == "blocks_gain")
    (vanishing,) = (claim for claim in system.claims if claim.id == "13.18")
    assert effect.threshold >= vanishing.threshold, "an effect that counts as none cannot vanish"


def test_both_ways_have_the_same_largest_radius_but_for_the_shared_error():
    plain = largest_radius(1, 10_000, 0.001, SIGMA)
    assert largest_radius(2, 10_000, 0.001, sigma_of(True)) == pytest.approx(plain, rel=0.01)


def test_every_figure_that_a_claim_names_is_measured():
    found = dual_smoothing("smoke", 100, Silent())
    assert all(value is None or np.isfinite(mean_of(value)) for value in found.values())
    system = find_system("13")
    claimed = {
        name
        for claim in system.claims
        if "small" in claim.scales
        for name in (claim.metric, claim.baseline, *claim.controls)
    } | {gate.metric for gate in system.gates if "small" in gate.scales}
    # The smoke run has no garments; figures of gratings are called alike.
    alike = {f"smoke.{name.replace('garments', 'gratings')}" for name in claimed - {None}}
    assert alike <= set(found)
    assert list(SMALL.arms) == ["garments", *SMOKE.arms]
