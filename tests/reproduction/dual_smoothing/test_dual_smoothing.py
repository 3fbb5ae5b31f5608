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
from snellen.methods.smoothing.branches import SmoothedNetwork
from snellen.reproduction.dual_smoothing.experiment import SIGMA, SMOKE, _attacked, compared, dual_smoothing, sigma_of
from snellen.reproduction.dual_smoothing.materials import DIRECTIONS, Sizes, gratings, mixed_gratings
from snellen.reproduction.dual_smoothing.votes import Votes, votes_of

SIZES = Sizes(24, 12)


def pixels(images):
    return np.stack([np.asarray(images.read(row))[..., 0] for row in range(len(images))]).astype(float)


def test_gratings_are_smooth_and_mixed_ones_the_same_pixels_elsewhere():
    smooth, mixed = (pixels(world("test", SIZES, 3)) for world in (gratings, mixed_gratings))
    assert np.array_equal(np.sort(smooth.reshape(12, -1)), np.sort(mixed.reshape(12, -1)))
    near = [np.abs(np.diff(one, axis=2)).mean() / one.std() for one in (smooth, mixed)]
    assert near[0] < 0.6 < near[1]
    train, test = (gratings(split, SIZES, 3) for split in ("train", "test"))
    # One order of pixels for all images of a seed, those of the training and those that are certified.
    places = {}
    for split in ("train", "test"):
        before, after = (
            pixels(world(split, Sizes(200, 200), 3)).reshape(200, -1) for world in (gratings, mixed_gratings)
        )
        places[split] = [int((one == before.T).all(1).argmax()) for one in after.T]
        assert np.array_equal(before[:, places[split]], after)
    assert places["train"] == places["test"]
    assert len(set(places["test"])) == 256
    assert set(train.labels.tolist()) == set(range(DIRECTIONS))
    assert not set(train.ids) & set(test.ids)
    assert not np.array_equal(pixels(train)[:12], smooth)


def votes_with(counts, label=0, samples=1000):
    """Votes of one image for three classes, by branch."""
    estimation = torch.tensor([[[count, samples - count, 0] for count in counts]])
    half = estimation // 2
    return Votes(estimation, {samples // 2: half, samples: estimation}, torch.tensor([label]), 0.5)


@pytest.mark.covers("13.9")
def test_figures_follow_from_the_votes_and_an_error_counts_nothing():
    votes = votes_with([990, 900])
    bounds = [lower_bound(count, 1000, 0.0005) for count in (990, 900)]
    assert votes.figures(1000)["acr"] == pytest.approx(proven_radius(bounds, 0.5))
    assert votes.figures(500)["acr"] < votes.figures(1000)["acr"]
    assert votes.figures(1000)["at_0.5"] == 1.0
    assert votes.figures(1000)["at_1.25"] == 0.0
    wrong = votes_with([990, 900], label=1).figures(1000)
    assert (wrong["acr"], wrong["at_0"], wrong["accuracy"]) == (0.0, 0.0, 0.0)
    figures = compared(votes_with([950]), votes, 1000)
    # The published bounds have the whole level each.
    whole = [lower_bound(count, 1000, 0.001) for count in (990, 900)]
    assert figures["published.acr"] == pytest.approx(published_radius(whole, 0.5))
    assert figures["dual_half.acr"] == votes.figures(500)["acr"]
    assert figures["published.acr"] > figures["dual.acr"]
    assert figures["overstated"] == pytest.approx(figures["published.acr"] / figures["dual.acr"] - 1)
    assert figures["gain"] == pytest.approx(figures["dual.acr"] / figures["plain.acr"] - 1)


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


def test_both_ways_have_the_same_largest_radius_but_for_the_shared_error():
    plain = largest_radius(1, 10_000, 0.001, SIGMA)
    assert largest_radius(2, 10_000, 0.001, sigma_of(True)) == pytest.approx(plain, rel=0.01)


def test_every_figure_that_a_claim_names_is_measured():
    found = dual_smoothing("smoke", 100, Silent())
    assert all(np.isfinite(value) for value in found.values())
    named = {name.removeprefix("smoke.").split(".", 1)[-1] for name in found}
    for claim in [one for one in find_system("13").claims if "small" in one.scales]:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or name.split(".", 1)[-1] in named, name
