"""The experiment of system 13: its worlds, and figures that follow from votes alone."""

import numpy as np
import pytest
import torch

from snellen.errors import InputError
from snellen.experiments.dual_smoothing.materials import DIRECTIONS, Sizes, gratings, mixed_gratings
from snellen.experiments.dual_smoothing.study import SIGMA, compared, dual_smoothing, sigma_of
from snellen.experiments.dual_smoothing.votes import Votes
from snellen.progress import Silent
from snellen.smoothing.bounds import largest_radius, lower_bound, proven_radius
from snellen.system import find_system

SIZES = Sizes(24, 12)


def pixels(images):
    return np.stack([np.asarray(images.read(row))[..., 0] for row in range(len(images))]).astype(float)


def test_gratings_are_smooth_and_mixed_ones_the_same_pixels_elsewhere():
    smooth, mixed = (pixels(world("test", SIZES, 3)) for world in (gratings, mixed_gratings))
    assert np.array_equal(np.sort(smooth.reshape(12, -1)), np.sort(mixed.reshape(12, -1)))
    near = [np.abs(np.diff(one, axis=2)).mean() / one.std() for one in (smooth, mixed)]
    assert near[0] < 0.6 < near[1]
    train, test = (gratings(split, SIZES, 3) for split in ("train", "test"))
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
    assert figures["published.acr"] > figures["dual.acr"]
    assert figures["overstated"] == pytest.approx(figures["published.acr"] / figures["dual.acr"] - 1)
    assert figures["gain"] == pytest.approx(figures["dual.acr"] / figures["plain.acr"] - 1)


def test_both_ways_have_the_same_largest_radius_but_for_the_shared_error():
    plain = largest_radius(1, 10_000, 0.001, SIGMA)
    assert largest_radius(2, 10_000, 0.001, sigma_of(True)) == pytest.approx(plain, rel=0.01)


def test_every_figure_that_a_claim_names_is_measured():
    found = dual_smoothing("smoke", 100, Silent())
    assert all(np.isfinite(value) for value in found.values())
    named = {name.removeprefix("smoke.").split(".", 1)[-1] for name in found}
    for claim in find_system("13").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or name.split(".", 1)[-1] in named, name


def test_there_is_no_full_scale():
    with pytest.raises(InputError, match="choose small"):
        dual_smoothing("full", 0, Silent())
