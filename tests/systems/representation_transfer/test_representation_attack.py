"""Tensors found in one model's representation and added in another's."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier
from snellen.systems.representation_transfer.representation_attack import (
    add,
    allowed,
    craft,
    random_changes,
    relative_size,
)
from snellen.systems.representation_transfer.representation_maps import fit_channel_map
from snellen.testing.conformance import small_problem


@pytest.fixture(scope="module")
def problem():
    return small_problem(count=24)


def cut(problem, layer, where="output"):
    return SplitClassifier(problem[0], layer, problem[1], where=where)


@pytest.mark.covers("16.10")
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
def test_at_layer_0_it_is_the_data_space_attack_to_the_bit(problem, norm, random_start):
    classifier, images, labels = problem
    rng = Randomness(3)
    for epsilon in (0.02, 0.4):
        data = PGD(norm=norm, epsilon=epsilon, steps=6, random_start=random_start).attack(
            classifier, images, labels, rng=rng
        )
        ours = craft(
            cut(problem, PIXELS), images, labels, norm=norm, epsilon=epsilon, steps=6, random_start=random_start,
            keep="first", rng=rng.child("pgd"),
        )  # fmt: skip
        for name in ("images", "success", "distance", "queries", "gradients", "scores"):
            assert torch.equal(getattr(ours.search, name), getattr(data, name)), name


@pytest.mark.covers("16.9")
@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_changes_stay_in_the_ball_and_do_what_the_search_says(problem, layer, norm):
    classifier, images, labels = problem
    split = cut(problem, layer)
    epsilon = 0.6 / relative_size(1.0, norm, split.encode(images))
    found = craft(split, images, labels, norm=norm, epsilon=epsilon, steps=5)
    assert found.changes.shape == split.encode(images).shape
    length = torch.linalg.vector_norm(found.changes.flatten(1), torch.inf if norm == "linf" else 2, dim=1)
    assert (length <= epsilon * (1 + 1e-4)).all()
    assert (length >= 0.5 * epsilon).any()
    added = add(split, images, found.changes)
    assert torch.equal(added.argmax(1) != labels, found.search.success)
    assert found.search.success.float().mean() > (classifier(images).argmax(1) != labels).float().mean()
    assert (found.norm, found.place) == (norm, split.place)


@pytest.mark.covers("16.9")
def test_on_a_linear_decoder_one_l2_step_is_the_best_change_of_the_theorem():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Linear(6, 2))
    classifier = Classifier(model, class_names=["a", "b"])
    images, labels = torch.rand(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64)
    split = SplitClassifier(classifier, "1", images)
    found = craft(split, images, labels, norm="l2", epsilon=0.3, steps=1, step_size=0.3)
    margin = model[2].weight[1] - model[2].weight[0]
    assert torch.allclose(found.changes, (0.3 * margin / margin.norm()).expand(5, -1), atol=1e-5)


@pytest.mark.covers("16.3")
def test_a_target_is_never_queried_for_its_gradient(problem):
    _, images, labels = problem
    found = craft(cut(problem, "1"), images, labels, epsilon=0.3, steps=4)
    target, _, _ = small_problem(count=24, seed=5)
    split = SplitClassifier(target, "1", images)
    with target.counting() as spent:
        scores = add(split, images, found.changes)
    assert spent().gradients == 0
    assert not scores.requires_grad
    # The very same tensor: by hand.
    with torch.no_grad():
        expected = target.module[2:](target.module[:2](images) + found.changes)
    assert torch.allclose(scores, expected, atol=1e-6)


@pytest.mark.covers("16.11")
@pytest.mark.parametrize("layer", [PIXELS, "1"])
def test_a_universal_tensor_is_one_for_all_and_found_on_the_mean_gradient(problem, layer):
    _, images, labels = problem
    split = cut(problem, layer)
    one = craft(split, images, labels, epsilon=0.1, steps=1, step_size=0.05, scope="universal")
    each = craft(split, images, labels, epsilon=0.1, steps=1, step_size=0.05)
    assert (one.scope, each.scope) == ("universal", "per-image")
    assert (len(one.changes), len(each.changes)) == (1, 24)
    clean = split.encode(images).detach().clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(split.decode(clean, images), labels)
    (gradient,) = torch.autograd.grad(loss, clean)
    assert torch.allclose(one.changes, 0.05 * gradient.mean(0, keepdim=True).sign())
    longer = craft(split, images, labels, epsilon=0.3, steps=10, scope="universal")
    assert longer.changes.abs().max() <= 0.3 + 1e-6
    broken = add(split, images, longer.changes).argmax(1) != labels
    assert torch.equal(broken, longer.search.success)
    with pytest.raises(InputError, match="keep='last', got 'first'"):
        craft(split, images, labels, epsilon=0.1, scope="universal", keep="first")


@pytest.mark.covers("16.13")
def test_a_floor_keeps_representations_reachable_and_its_absence_does_not(problem):
    _, images, labels = problem
    split = cut(problem, "1")
    clean = split.encode(images)
    free = craft(split, images, labels, epsilon=0.5, steps=4)
    kept = craft(split, images, labels, epsilon=0.5, steps=4, low=0.0)
    assert (clean + free.changes).min() < 0
    assert (clean + kept.changes).min() >= 0
    before = craft(cut(problem, "1", "input"), images, labels, epsilon=0.5, steps=4)
    assert (free.place, before.place) == ("1, after the nonlinearity ReLU", "1, before the nonlinearity ReLU")


def test_a_batch_is_its_images_one_by_one(problem):
    _, images, labels = problem
    split = cut(problem, "1")
    whole = craft(split, images, labels, epsilon=0.3, steps=4, random_start=True)
    part = craft(split, images[5:8], labels[5:8], epsilon=0.3, steps=4, random_start=True,
                 rng=Randomness(0).bind(24)[[5, 6, 7]])  # fmt: skip
    assert torch.allclose(part.changes, whole.changes[5:8], atol=1e-5)


@pytest.mark.covers("16.5")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_changes_have_the_full_norm_and_differ_between_draws(norm):
    drawn = random_changes(torch.Size([4, 3, 5, 5]), norm=norm, epsilon=0.25, rng=Randomness(0))
    order = torch.inf if norm == "linf" else 2
    assert torch.allclose(torch.linalg.vector_norm(drawn.flatten(1), order, dim=1), torch.full((4,), 0.25))
    other = random_changes(torch.Size([4, 3, 5, 5]), norm=norm, epsilon=0.25, rng=Randomness(0).child("draw", 1))
    assert not torch.equal(drawn, other)
    assert abs(float(drawn.mean())) < 0.05


def test_shapes_that_do_not_fit_are_named(problem):
    _, images, _ = problem
    with pytest.raises(InputError, match=r"\(24, 7, 8, 8\) cannot be added to the representation \(24, 8, 8, 8\)"):
        add(cut(problem, "1"), images, torch.zeros(24, 7, 8, 8))
    with pytest.raises(InputError, match=r"a map of channels \(3, 3\)"):
        add(cut(problem, "1"), images, torch.zeros(24, 8, 8, 8), matrix=torch.eye(3))


def test_images_stay_images_and_the_ball_has_its_box_there_only(problem):
    _, images, labels = problem
    found = craft(cut(problem, PIXELS), images, labels, epsilon=0.5, steps=3)
    assert (images + found.changes).min() >= -1e-6
    assert (images + found.changes).max() <= 1 + 1e-6
    assert type(allowed(cut(problem, PIXELS), "linf", 0.1)).__name__ == "LinfBall"
    assert type(allowed(cut(problem, "1"), "linf", 0.1)).__name__ == "OpenLinfBall"


def test_a_channel_map_is_fitted_on_some_images_and_judged_on_others(problem):
    _, images, _ = problem
    source = cut(problem, "1")
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).Q
    ours, theirs = source.encode(images), source.with_basis(rotation).encode(images)
    for kind, error in (("orthogonal", 1e-4), ("ridge", 0.02)):
        found = fit_channel_map(ours, theirs, kind=kind)
        assert (found.kind, found.rows) == (kind, 18 * 64)
        assert found.held_out_residual < error
    assert torch.allclose(fit_channel_map(ours, theirs).matrix, rotation, atol=1e-4)
    with pytest.raises(InputError, match="at least twice as many samples"):
        fit_channel_map(ours.flatten(1), theirs.flatten(1))
    with pytest.raises(InputError, match="nothing to fit"):
        fit_channel_map(ours, theirs, kind="none")
