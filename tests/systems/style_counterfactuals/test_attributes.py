"""AttFind: what is moved, against what it is measured, what is left alone, and how attributes are chosen."""

import copy

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.systems.style_counterfactuals.attributes import (
    DOWN,
    UP,
    Attribute,
    attributes_of_classes,
    cover,
    effects,
    merged,
    moved_styles,
    promising,
    rise,
    shifted_styles,
    stable_images,
    style_bounds,
)
from snellen.systems.style_counterfactuals.flips import counterfactuals, directed, random_coordinates, runners_up
from snellen.systems.style_counterfactuals.networks import StyleExplainer, StyleRenderer, fixed_noise
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import encode
from tests.systems.style_counterfactuals.small import SIZES, classifier, images


@pytest.fixture(scope="module")
def scene():
    """An explainer whose noise acts, the classifier, and six encoded images."""
    torch.manual_seed(0)
    explainer = StyleExplainer(SIZES, 3).eval()
    for network in (explainer.generator, explainer.average):
        for block in network.blocks:
            torch.nn.init.constant_(block.noise1, 0.3)
            torch.nn.init.constant_(block.noise2, 0.3)
    seen = Seen(classifier(3), (32, 32))
    renderer, encoded = encode(explainer, seen, to_unit(images(6)))
    return explainer, seen, renderer, encoded, style_bounds(encoded.styles)


def one_by_one(scene, image, direction, coordinate, shift=1.0):
    """Δ of one edit, rendered from the first block on."""
    _, seen, renderer, encoded, bounds = scene
    styles = encoded.styles[image : image + 1].clone()
    bound = bounds[1 if direction == UP else 0][coordinate]
    styles[0, coordinate] += shift * (bound - styles[0, coordinate])
    with torch.no_grad():
        return seen.scores(renderer.images(styles))[0] - encoded.base[image]


@pytest.mark.covers("32.5")
def test_coordinates_are_those_behind_the_affine_layers(scene):
    explainer, _, renderer, encoded, _ = scene
    shape = explainer.generator.shape
    assert (
        renderer.coordinates == shape.coordinates == len(renderer.block_of) == sum(shape.entering) + sum(shape.widths)
    )
    assert renderer.coordinates != shape.latent
    with torch.no_grad():
        codes = explainer.codes(encoded.images, encoded.scores)
        block = explainer.average.blocks[1]
        expected = block.style1(codes)[:, 0]
    at = explainer.average.first_coordinate(1)
    assert torch.allclose(encoded.styles[:, at], expected)
    assert renderer.block_of.tolist().index(1) == at


@pytest.mark.covers("32.6")
def test_effects_are_logits_against_the_reconstruction(scene):
    _, seen, renderer, encoded, bounds = scene
    found = effects(renderer, seen.scores, encoded.styles, bounds, together=32)
    assert found.shape == (6, 2, renderer.coordinates, 3)
    assert float((encoded.base - encoded.scores).abs().amax(1).min()) > 1e-3  # else both references were the same
    for image, direction, coordinate in ((0, UP, 0), (3, DOWN, 9), (5, UP, 20), (2, DOWN, renderer.coordinates - 1)):
        expected = one_by_one(scene, image, direction, coordinate)
        assert torch.allclose(found[image, direction, coordinate], expected, atol=1e-4)
    assert float(found.abs().max()) > 1e-3


@pytest.mark.covers("32.6")
def test_a_coordinate_at_its_bound_has_no_effect_that_way(scene):
    _, seen, renderer, encoded, bounds = scene
    found = effects(renderer, seen.scores, encoded.styles, bounds)
    highest = encoded.styles[:, : renderer.coordinates].argmax(0)
    at_bound = found[highest, UP, torch.arange(renderer.coordinates)]
    assert torch.allclose(at_bound, torch.zeros_like(at_bound), atol=1e-4)


@pytest.mark.covers("32.7")
def test_both_renders_have_the_same_noise(scene):
    explainer, seen, renderer, encoded, bounds = scene
    other = StyleRenderer(explainer.average, fixed_noise(32) + 1.0)
    with torch.no_grad():
        assert float((other.images(encoded.styles) - encoded.remade).abs().max()) > 1e-3  # the noise acts
        assert torch.equal(renderer.images(encoded.styles), encoded.remade)
    # Without a shift nothing moves: any other noise on the way would.
    found = effects(renderer, seen.scores, encoded.styles, bounds, shift=0.0)
    assert torch.allclose(found, torch.zeros_like(found), atol=1e-4)


@pytest.mark.covers("32.8")
def test_bounds_are_those_of_the_images_that_are_given():
    styles = torch.tensor([[2.0, -1.0], [3.0, -4.0], [float("nan"), 9.0]])
    low, high = style_bounds(styles[:2])
    assert (low.tolist(), high.tolist()) == ([2.0, -4.0], [3.0, -1.0])
    with pytest.raises(InputError, match="two images or more; got 1"):
        style_bounds(styles[:1])
    with pytest.raises(InputError, match="not finite"):
        style_bounds(styles)


@pytest.mark.covers("32.9")
def test_attributes_cover_images_and_are_not_the_top_by_mean():
    # Coordinate 0 and 1 both move the first two images; coordinate 2 is weaker on average and moves the others.
    found = torch.zeros(4, 2, 3, 2)
    found[:2, UP, 0, 1], found[:2, UP, 1, 1], found[2:, UP, 2, 1] = 3.0, 2.8, 2.0
    chosen = cover(found, 1, 2)
    assert [one.coordinate for one in chosen] == [0, 2]
    assert [one.effect for one in chosen] == pytest.approx([1.5, 2.0])
    # With an explanation out of reach nobody leaves the mean, and the plain order is left.
    assert [one.coordinate for one in cover(found, 1, 2, explained=100.0)] == [0, 1]


@pytest.mark.covers("32.9")
def test_covering_ends_when_all_are_explained_or_nothing_helps():
    found = torch.zeros(3, 2, 4, 2)
    found[:, DOWN, 3, 0] = 5.0
    found[:, UP, 1, 0] = 1.0
    assert [(one.coordinate, one.direction, one.target) for one in cover(found, 0, 4)] == [(3, DOWN, 0)]
    assert cover(found, 1, 4) == []
    assert len(cover(found, 0, 4, explained=100.0)) == 2
    only = torch.tensor([False, False, True])
    found[2, UP, 1, 0] = 9.0
    assert cover(found, 0, 1, rows=only)[0].coordinate == 1


@pytest.mark.covers("32.9")
def test_what_one_pick_gave_counts_for_the_next():
    found = torch.zeros(2, 2, 3, 2)
    found[0, UP, 0, 1], found[1, UP, 0, 1] = 2.0, 1.5
    found[0, UP, 1, 1] = 1.9  # image 0 has 2.0 of 2.5: not explained yet
    found[1, UP, 2, 1] = 1.0
    assert [one.coordinate for one in cover(found, 1, 3)] == [0, 1, 2]
    assert [one.coordinate for one in cover(found, 1, 3, explained=1.9)] == [0, 2]


@pytest.mark.covers("32.10")
def test_nothing_that_was_given_is_changed_also_after_an_error(scene):
    explainer, seen, renderer, encoded, bounds = scene
    weights = copy.deepcopy(explainer.state_dict())
    styles = encoded.styles.clone()
    effects(renderer, seen.scores, encoded.styles, bounds, together=7)
    chosen = [Attribute(3, UP, 1, 1.0), Attribute(7, DOWN, 1, 1.0)]
    moved_styles(encoded.styles, chosen, bounds, 2.0)
    calls = []

    def failing(made):
        calls.append(len(made))
        if len(calls) == 5:
            raise RuntimeError("in the middle")
        return seen.scores(made)

    with pytest.raises(RuntimeError, match="in the middle"):
        effects(renderer, failing, encoded.styles, bounds, together=16)
    assert torch.equal(styles, encoded.styles)
    after = explainer.state_dict()
    assert all(torch.equal(weights[name], after[name]) for name in weights)


@pytest.mark.covers("32.10")
def test_batches_of_any_size_give_the_same_effects(scene):
    _, seen, renderer, encoded, bounds = scene
    few, many = (effects(renderer, seen.scores, encoded.styles, bounds, together=size) for size in (5, 500))
    assert torch.allclose(few, many, atol=1e-4)


def test_a_shift_of_two_goes_as_far_again_and_only_one_coordinate_moves():
    styles, bounds = torch.tensor([[1.0, 5.0]]), (torch.tensor([0.0, 5.0]), torch.tensor([3.0, 5.0]))
    up = shifted_styles(styles, torch.tensor([0]), torch.tensor([UP]), bounds, 2.0)
    down = shifted_styles(styles, torch.tensor([0]), torch.tensor([DOWN]), bounds, 2.0)
    assert (up.tolist(), down.tolist()) == ([[5.0, 5.0]], [[-1.0, 5.0]])


def test_the_filter_keeps_what_the_exact_search_finds(scene):
    _, seen, renderer, encoded, bounds = scene
    exact = effects(renderer, seen.scores, encoded.styles, bounds)
    kept = promising(renderer, seen.scores, encoded.styles, bounds, 0.5)
    assert len(kept) == round(0.5 * renderer.coordinates)
    best = int(exact.abs().mean((0, 1, 3)).argmax())
    assert best in kept.tolist()
    filtered = effects(renderer, seen.scores, encoded.styles, bounds, coordinates=kept)
    assert torch.allclose(filtered[:, :, kept], exact[:, :, kept], atol=1e-4)
    others = torch.ones(renderer.coordinates, dtype=torch.bool)
    others[kept] = False
    assert bool(filtered[:, :, others].isnan().all()), "not measured is not 0"
    assert {one.coordinate for one in cover(filtered, 1, 99)} <= set(kept.tolist())
    assert torch.equal(stable_images(filtered, 0), stable_images(filtered.nan_to_num(0), 0))


def test_unstable_images_are_those_that_many_coordinates_move():
    found = torch.zeros(2, 2, 5, 2)
    found[0, UP, :3, 0] = 0.4
    found[1, DOWN, :5, 1] = -0.2
    assert stable_images(found, most=2, above=0.3).tolist() == [False, True]


def test_of_two_classes_the_lists_are_each_other_turned():
    first = [Attribute(4, UP, 0, 1.0), Attribute(2, UP, 0, 0.5)]
    second = [Attribute(4, UP, 1, 0.7), Attribute(9, DOWN, 1, 2.0)]
    found = merged(second, first, 1)
    assert [(one.coordinate, one.direction, one.effect) for one in found] == [
        (9, DOWN, 2.0),
        (4, DOWN, 1.0),
        (2, DOWN, 0.5),
    ]
    assert all(one.target == 1 for one in found)


def test_lists_of_two_classes_are_each_their_own_unless_they_are_merged():
    """A coordinate that raises one class far more than its other way raises the other takes no place in both lists."""
    found, decided = torch.zeros(4, 2, 2, 2), torch.tensor([0, 0, 1, 1])
    found[:2, UP, 0, 1] = 3.0  # down, it does nothing for class 0
    found[2:, DOWN, 1, 0] = 1.0
    own = attributes_of_classes(found, decided, 1)
    assert {key: [(one.coordinate, one.direction) for one in chosen] for key, chosen in own.items()} == {
        0: [(1, DOWN)],
        1: [(0, UP)],
    }
    both = attributes_of_classes(found, decided, 1, merge=True)
    assert {key: [(one.coordinate, one.direction) for one in chosen] for key, chosen in both.items()} == {
        0: [(0, DOWN)],
        1: [(0, UP)],
    }


def test_lists_of_three_classes_are_each_their_own():
    found = torch.zeros(3, 2, 4, 3)
    for target in range(3):
        found[:, UP, target, target] = 1.0 + target
    lists = attributes_of_classes(found, torch.tensor([0, 1, 2]), 2)
    assert {target: [one.coordinate for one in chosen] for target, chosen in lists.items()} == {0: [0], 1: [1], 2: [2]}
    alone = attributes_of_classes(found, torch.tensor([1, 1, 1]), 2)
    assert alone[1] == []


@pytest.mark.covers("32.11")
def test_flips_go_toward_the_runner_up_and_random_coordinates_are_as_many(scene):
    _, seen, renderer, encoded, bounds = scene
    targets = runners_up(encoded.base)
    assert bool((targets != encoded.base.argmax(1)).all())
    nothing = counterfactuals(renderer, seen.scores, encoded.styles, encoded.base, {}, bounds)
    assert not bool(nothing.flipped.any())
    found = effects(renderer, seen.scores, encoded.styles, bounds)
    order = random_coordinates(bounds, renderer.coordinates, torch.Generator().manual_seed(0))
    assert sorted(order) == (bounds[1] > bounds[0])[: renderer.coordinates].nonzero().flatten().tolist()
    decided = encoded.base.argmax(1)
    drawn = directed(found, decided, {0: order[:2], 2: order[:4]})
    assert {key: [one.coordinate for one in own] for key, own in drawn.items()} == {0: order[:2], 2: order[:4]}
    with pytest.raises(ValueError, match="not measured"):
        directed(torch.full_like(found, torch.nan), decided, {0: order[:2]})
    rows = encoded.base.argmax(1) != 2
    for one in drawn[2]:
        mean = found[rows if bool(rows.any()) else slice(None), :, one.coordinate, 2].mean(0)
        assert float(mean[one.direction]) == pytest.approx(float(mean.max()))


def test_a_coordinate_is_chosen_one_way_only_and_moves_start_where_it_stood():
    found = torch.zeros(4, 2, 2, 3)
    found[:2, UP, 0, 1], found[2:, DOWN, 0, 1], found[:, UP, 1, 1] = 2.0, 1.9, 0.1
    assert [(one.coordinate, one.direction) for one in cover(found, 1, 3)] == [(0, UP), (1, UP)]
    bounds = (torch.tensor([-1.0]), torch.tensor([1.0]))
    both = [Attribute(0, DOWN, 1, 1.0), Attribute(0, UP, 1, 1.0)]
    assert moved_styles(torch.zeros(1, 1), both, bounds, 2.0).tolist() == [[2.0]]


def test_the_rise_of_a_turned_attribute_is_measured_in_its_own_way_and_class():
    found, decided = torch.zeros(4, 2, 2, 2), torch.tensor([0, 0, 1, 1])
    found[2:, DOWN, 0, 0] = 3.0  # raises class 0; the other way does nothing for class 1
    found[:2, UP, 1, 1] = torch.tensor([1.5, 0.5])
    found[2:, UP, 1, 1] = 9.0  # taken for class 1 already
    first, second = attributes_of_classes(found, decided, 2, merge=True)[1]
    assert (first.coordinate, first.direction, rise(found, decided, first)) == (0, UP, 0.0)
    assert (second.coordinate, rise(found, decided, second)) == (1, 1.0)
    assert torch.tensor(rise(found, torch.ones(4), second)).isnan()
