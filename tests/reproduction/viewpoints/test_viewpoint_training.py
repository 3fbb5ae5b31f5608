"""The experiment of system 11: its world, its figures, and that every classifier is attacked anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.sample import mean_of
from snellen.reproduction.viewpoints import experiment as study
from snellen.reproduction.viewpoints.experiment import SMALL, SMOKE, viewpoint_training
from snellen.reproduction.viewpoints.full import FULL
from snellen.reproduction.viewpoints.judging import attack_figures
from snellen.reproduction.viewpoints.materials import Remembering, renderer_of, views_of
from snellen.reproduction.viewpoints.modes import azimuth_modes
from snellen.reproduction.viewpoints.ways import CONTROLS, WAYS, recipe_of


@pytest.fixture(scope="module")
def smoke():
    """Figures of the smoke run, and which classifier each attack was made for, with which method."""
    attacks, attacked = [], study.attacked

    def noted(classifier, held, attack, rng, progress):
        attacks.append((classifier, attack, rng))
        return attacked(classifier, held, attack, rng, progress)

    study.attacked = noted
    try:
        return viewpoint_training("smoke", 100, Silent()), attacks
    finally:
        study.attacked = attacked


def test_every_figure_that_a_claim_names_is_measured(smoke):
    found, _ = smoke
    assert all(value is None or np.isfinite(mean_of(value)) for value in found.values())
    system = find_system("11")
    for claim in [one for one in system.claims if "small" in one.scales]:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or f"smoke.{name}" in found, name
    assert {f"smoke.{gate.metric}" for gate in system.gates if "small" in gate.scales} <= set(found)
    # One value of each of two test objects: they are what is drawn from, and not their views.
    assert len(found["smoke.viat.attacked"].values) == len(found["smoke.viat.natural"].values) == 2


def test_as_many_random_views_are_shown_as_searching_renders_in_all(smoke):
    found, _ = smoke
    added, searched, equal = (found[f"smoke.renders.{name}"] for name in ("added", "searched", "equal"))
    steps = SMOKE.further * 2  # 12 views in batches of 6
    assert searched > 0
    assert 0 <= equal - (added + searched) < steps
    assert SMALL.added_for(SMALL.further * 11 * 25) == SMALL.added, "1,080 views in batches of 100"


@pytest.mark.covers("11.11")
def test_each_classifier_is_attacked_anew_and_with_the_same_numbers(smoke):
    _, attacks = smoke
    assert len(attacks) == len(WAYS) + len(CONTROLS) + 1
    assert all(attack == SMOKE.attack for _, attack, _ in attacks)
    weights = [classifier.fingerprint() for classifier, _, _ in attacks]
    # With one object in a class there is nothing to share, and two ways are one.
    assert len(set(weights)) == len(weights) - 1
    # No mixture of the training is handed over: the same randomness, and nothing else, for all.
    assert len({(rng.seed, rng.path) for _, _, rng in attacks}) == 1


@pytest.mark.covers("11.9")
def test_no_object_is_trained_on_and_judged():
    sizes = replace(SMOKE.sizes, train=2, test=3)
    train, test = (renderer_of(split, sizes, 4) for split in ("train", "test"))
    assert not set(train.objects) & set(test.objects)
    contents = [{one.content_hash(name) for name in one.objects} for one in (train, test)]
    assert not contents[0] & contents[1]
    images = views_of(test, "test", "any", 2, 4)
    assert len(images) == 12
    with pytest.raises(InputError, match="test images"):
        images.for_fitting()


def test_a_view_that_is_remembered_is_the_same_and_costs_nothing():
    class Counted:
        size, calls = 8, 0

        def render(self, object_id, viewpoints):
            self.calls += 1
            return viewpoints[:, :3, None, None].float().expand(-1, 3, 8, 8), torch.ones(len(viewpoints), 8, 8)

    inner = Counted()
    renderer, viewpoints = Remembering(inner), torch.rand(2, 6, dtype=torch.float64)
    first, again = (renderer.render("a", viewpoints)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert inner.calls == 1
    assert float((first[:, :, 0, 0] - viewpoints[:, :3]).abs().max()) <= 0.5 / 255 + 1e-6
    renderer.render("b", viewpoints)
    renderer.render("a", viewpoints + 1e-3)
    assert inner.calls == 3


def test_all_ways_see_as_many_images_and_differ_in_their_cameras_alone():
    made = {way: recipe_of(way, SMALL.search, SMALL.common()) for way in WAYS}
    assert len({(one.added_views, one.plan, one.behind, one.clean_epochs) for one in made.values()}) == 1
    assert (made["natural"].viewpoints, made["random"].viewpoints) == ("natural", "any")
    # As many views in a step of one Gaussian as of a mixture.
    views = {way: made[way].popsize - 1 + made[way].components for way in WAYS[2:]}
    assert len(set(views.values())) == 1
    assert made["gaussian"].components == 1
    assert (made["unshared"].share_rate, made["viat"].share_rate) == (0.0, 0.5)
    assert (made["frozen"].refresh, made["viat"].refresh) == (False, True)
    assert recipe_of("viat", FULL.search, {}).components == 15
    many = recipe_of("equal", SMALL.search, SMALL.common(145))
    assert (many.viewpoints, many.added_views, many.plan) == ("any", 145, made["viat"].plan)
    with pytest.raises(InputError, match="no such way"):
        recipe_of("sideways", SMALL.search, SMALL.common())


@pytest.mark.parametrize(
    ("azimuths", "modes"),
    [
        ([], 0),
        ([3.0], 1),
        ([-179, 179, 170], 1),
        ([0, 10, 25, 120, 130], 2),
        ([-100, 0, 100], 3),
        ([0] * 30 + [90], 1),
        (list(range(0, 360, 15)), 1),
    ],
)
def test_places_round_an_object_are_counted_on_the_circle(azimuths, modes):
    assert azimuth_modes(np.array(azimuths, dtype=float)) == modes


def test_figures_of_an_attack_count_fooled_views_alone():
    from snellen.core.outcomes import AttackedViews

    viewpoints = torch.zeros(2, 4, 6, dtype=torch.float64)
    viewpoints[0, :, 1] = torch.tensor([0.0, 90, 180, 270])
    success = torch.tensor([[True, True, False, True], [False] * 4])
    ones = torch.ones(2, 1, 6)
    found = AttackedViews(
        ("a", "b"), ones, ones * 0.1, torch.ones(2, 1), viewpoints, success, torch.zeros(2, 4, dtype=torch.bool),
        torch.zeros(2, 4, 3), torch.tensor([1.0, 3.0]), torch.tensor([1, 1]), torch.tensor([10, 10]),
        torch.tensor([1, 0]), ("found", "not found"),
    )  # fmt: skip
    told = attack_figures(found)
    assert told["attacked"].values == (0.25, 1.0)
    assert {name: mean_of(value) for name, value in told.items()} == pytest.approx(
        {"attacked": 1 - 0.375, "entropy": 2.0, "deviation": 0.1, "modes": 1.5, "blank": 0.05}, abs=1e-6
    )
