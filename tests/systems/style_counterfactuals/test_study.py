"""A study: what is chosen on which images, what is left out, and what reconstructions must be good for."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals import study as module
from snellen.systems.style_counterfactuals.attributes import attributes_of_classes, effects, style_bounds
from snellen.systems.style_counterfactuals.flips import Counterfactuals, counterfactuals, directed
from snellen.systems.style_counterfactuals.foreign import moved_by_foreign
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import (
    Encoded,
    Search,
    check_agreement,
    distances,
    encode,
    flip_rate,
    followed,
    off_manifold,
    study,
)
from tests.systems.style_counterfactuals.small import PLAN, classifier, images, trained


@pytest.fixture(scope="module")
def scene():
    """A trained explainer, the classifier, and 20 images."""
    done = trained(PLAN)
    return done.explainer, Seen(classifier(), (32, 32)), to_unit(images(20, seed=3))


def test_a_study_splits_choosing_from_measuring(scene):
    explainer, seen, given = scene
    found = study(explainer, seen, given, Search(agreement=0.0), Randomness(0))
    assert (len(found.chosen_on), len(found.measured_on)) == (10, 10)
    assert torch.equal(given[found.measured_rows], found.measured_on.images)
    chosen = {one.numpy().tobytes() for one in found.chosen_on.images}
    assert not chosen & {one.numpy().tobytes() for one in found.measured_on.images}
    assert any(found.lists.values())
    assert np.isfinite(found.effects.numpy()).all()


@pytest.mark.covers("32.8")
def test_an_image_without_finite_scores_is_no_part_of_bounds_lists_or_agreement(scene, monkeypatch):
    explainer, _, given = scene
    seen = Seen(classifier(), (32, 32))
    plain = seen.scores
    seen.scores = lambda shown: torch.where((shown == 0).flatten(1).all(1)[:, None], torch.nan, plain(shown))
    checked = []
    monkeypatch.setattr(module, "check_agreement", lambda encoded, *_: checked.append(len(encoded)))
    more = torch.cat([given, given[:3] * 0])
    decided = encode(explainer, seen, more)[1].base.argmax(1)
    decided[[0, 20, 21, 22]] = 1 - decided[[0, 20, 21, 22]]  # one of the valid images is rebuilt badly
    found = study(explainer, seen, more, Search(agreement=0.9), Randomness(0), decided=decided)
    assert checked == [20]
    assert found.left_out == {"their scores or styles are not finite": 3}
    assert len(found.chosen_on) + len(found.measured_on) == 20
    assert found.agreement == pytest.approx(19 / 20)
    low, high = found.bounds
    assert torch.equal(low, found.chosen_on.styles.amin(0))
    assert torch.equal(high, found.chosen_on.styles.amax(0))


@pytest.mark.covers("32.11")
def test_a_study_moves_by_its_shift_and_as_many_random_coordinates_as_attributes(scene):
    explainer, seen, given = scene
    for shift in (1.0, 2.0):
        found = study(explainer, seen, given, Search(agreement=0.0, shift=shift, attributes=3), Randomness(0))
        measured = found.measured_on
        for chosen, made in ((found.lists, found.top), *zip(found.drawn, found.random, strict=True)):
            by_hand = counterfactuals(
                found.renderer, seen.scores, measured.styles, measured.base, chosen, found.bounds, shift=shift
            )
            assert torch.allclose(made.scores, by_hand.scores, atol=1e-4)
            assert {key: len(own) for key, own in chosen.items()} == {key: len(own) for key, own in found.lists.items()}
        cost = distances(seen, measured.remade, found.top.images)
        assert bool((cost > 0).all())
        assert float(distances(seen, measured.remade, measured.remade).abs().max()) == pytest.approx(0, abs=1e-6)
        longer = counterfactuals(
            found.renderer, seen.scores, measured.styles, measured.base, found.lists, found.bounds, shift=3 - shift
        )
        assert not torch.allclose(found.top.scores, longer.scores, atol=1e-4)


def test_with_few_coordinates_tried_random_ones_have_a_measured_direction(scene):
    explainer, seen, given = scene
    part = study(explainer, seen, given, Search(agreement=0.0, share=0.05), Randomness(0))
    whole = study(explainer, seen, given, Search(agreement=0.0), Randomness(0))
    assert bool(part.effects.isnan().any())
    rows = part.chosen_on.base.argmax(1)
    for target in (0, 1):
        named = [*part.single[target], *(one for draw in part.drawn for one in draw[target])]
        for one in named:
            others = rows != target if bool((rows != target).any()) else slice(None)
            mean = whole.effects[others, :, one.coordinate, target].mean(0)
            assert one.effect == pytest.approx(float(mean.max()), abs=1e-4)
            assert float(mean[one.direction]) == pytest.approx(float(mean.max()), abs=1e-4)


@pytest.mark.covers("32.8")
def test_unstable_images_are_no_part_of_bounds_effects_and_lists(scene):
    """All is as if the images that are left had been the only ones."""
    explainer, seen, given = scene
    whole = study(explainer, seen, given, Search(agreement=0.0), Randomness(0))
    counts = (whole.effects.abs().amax((1, 3)) > 0.3).sum(1)
    most = int(counts.median())
    kept = counts <= most
    assert 1 < int(kept.sum()) < len(kept)
    part = study(explainer, seen, given, Search(agreement=0.0, unstable=most), Randomness(0))
    assert torch.equal(part.chosen_on.styles, whole.chosen_on.styles[kept])
    bounds = style_bounds(part.chosen_on.styles)
    assert all(map(torch.equal, part.bounds, bounds))
    assert not all(map(torch.equal, part.bounds, whole.bounds)), "an image that was left out stood at a bound"
    by_hand = effects(part.renderer, seen.scores, part.chosen_on.styles, bounds)
    assert torch.allclose(part.effects, by_hand, atol=1e-4)
    assert not torch.allclose(part.effects, whole.effects[kept], atol=1e-4)
    assert part.lists == attributes_of_classes(part.effects, part.chosen_on.base.argmax(1), 4)
    assert part.left_out == {f"more than {most} coordinates move them": int((~kept).sum())}
    assert part.agreement == whole.agreement
    nobody = study(explainer, seen, given, Search(agreement=0.0, unstable=len(counts) * 999), Randomness(0))
    assert torch.equal(nobody.effects, whole.effects)


def test_agreement_is_that_of_all_images_and_not_of_those_that_a_filter_left(scene):
    explainer, seen, given = scene
    whole = study(explainer, seen, given, Search(agreement=0.0), Randomness(0))
    with torch.no_grad():
        scores = explainer.critic(encode(explainer, seen, given)[1].remade)[:, 0]
    part = study(explainer, seen, given, Search(agreement=0.0, realistic=float(scores.median())), Randomness(0))
    assert len(part.chosen_on) + len(part.measured_on) < 20
    assert part.agreement == whole.agreement


def test_agreement_is_with_the_decision_for_the_image_as_it_was_given(scene):
    explainer, seen, given = scene
    encoded = encode(explainer, seen, given)[1]
    wrong = 1 - encoded.base.argmax(1)
    assert encode(explainer, seen, given, decided=wrong)[1].agreed.sum() == 0
    found = study(explainer, seen, given, Search(agreement=0.0), Randomness(0), decided=wrong)
    assert found.agreement == 0
    kept = (encoded.scores.argmax(1) == wrong).float().mean()
    assert 0 < found.reduced == pytest.approx(float(kept))


# -- reconstructions --------------------------------------------------------------------------------------------------


def encoded(decided, remade):
    scores, base = (nn.functional.one_hot(torch.tensor(one), 2).float() for one in (decided, remade))
    empty = torch.zeros(len(decided), 3, 4, 4)
    return Encoded(empty, scores, torch.zeros(len(decided), 3), empty, base, torch.tensor(decided))


def test_reconstructions_that_the_classifier_does_not_recognise_are_an_error():
    check_agreement(encoded([0, 1, 0, 1], [0, 1, 0, 1]), ["a", "b"], 0.9)
    with pytest.raises(ModelError, match=r"takes 75% of the reconstructions.*\(needed are 90%.*--steps"):
        check_agreement(encoded([0, 1, 0, 1], [0, 1, 0, 0]), ["a", "b"], 0.9)


def test_agreement_no_better_than_naming_one_class_is_an_error_at_a_lower_demand():
    with pytest.raises(ModelError, match="more than always naming one class gives, 75%"):
        check_agreement(encoded([0, 0, 0, 1], [0, 0, 0, 0]), ["a", "b"], 0.1)


def test_images_of_one_decision_are_an_error():
    with pytest.raises(InputError, match="all 3 explained images are taken for b"):
        check_agreement(encoded([1, 1, 1], [1, 1, 1]), ["a", "b"], 0.1)


def test_a_second_classifier_is_queried_about_flips():
    flipped = Counterfactuals(to_unit(images(4)), torch.zeros(4, 2), torch.tensor([True, True, False, True]))
    same = followed(classifier(), None, to_unit(images(4)), flipped)
    assert same == 0.0
    dark = torch.zeros(4, 3, 32, 32)
    bright = Counterfactuals(torch.ones(4, 3, 32, 32), torch.zeros(4, 2), torch.tensor([True, False, False, True]))
    assert followed(classifier(), None, dark, bright) == 1.0
    nothing = Counterfactuals(dark, torch.zeros(4, 2), torch.zeros(4, dtype=torch.bool))
    assert math.isnan(followed(classifier(), None, dark, nothing))
    assert flip_rate(bright) == 0.5


def test_images_that_the_critic_finds_less_real_are_off_the_manifold():
    explainer = trained(PLAN.model_copy(update={"steps": 1})).explainer

    class Level(nn.Module):
        def forward(self, given):
            return given.mean((1, 2, 3))[:, None]

    explainer.critic = Level()
    remade = torch.linspace(0, 0.5, 20)[:, None, None, None].expand(-1, 3, 4, 4)
    assert off_manifold(explainer, remade, remade * 0) == 0.0
    assert off_manifold(explainer, remade, remade * 0 + 0.9) == 1.0
    assert off_manifold(explainer, remade, remade) == pytest.approx(0.05)


def test_coordinates_of_the_same_classifier_are_its_strongest_and_flip_as_these_do(scene):
    """The control of another classifier has no other effect than that of its choice of coordinates."""
    explainer, seen, given = scene
    search = Search(agreement=0.0)
    found = study(explainer, seen, given, search, Randomness(0))
    decided = found.chosen_on.base.argmax(1)
    most = max(map(len, found.lists.values()))
    strongest = attributes_of_classes(found.effects, decided, most)
    ranked = sorted((one for own in strongest.values() for one in own), key=lambda one: -one.effect)
    order = list(dict.fromkeys(one.coordinate for one in ranked))[:most]
    assert len(order) == most
    own = directed(found.effects, decided, {key: order[: len(one)] for key, one in found.lists.items()})
    measured = found.measured_on
    by_hand = counterfactuals(found.renderer, seen.scores, measured.styles, measured.base, own, found.bounds)
    other = moved_by_foreign(found, seen, seen.scores, search)
    assert other is not None
    assert torch.allclose(other.scores, by_hand.scores, atol=1e-4)
    assert moved_by_foreign(found, seen, lambda images: torch.zeros(len(images), 2), search) is None
