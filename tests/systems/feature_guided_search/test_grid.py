"""The grid verdict on a linear model, whose Lipschitz constants and margins are known."""

import itertools

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.systems.feature_guided_search.grid import _moves, half_diagonal, lipschitz_verdict

ORDERS = {"l1": 1.0, "l2": 2.0, "linf": torch.inf}
DUALS = {"l1": torch.inf, "l2": 2.0, "linf": 1.0}


def linear(seed=0):
    """Two scores ±w·x on one pixel of three channels; image in the middle; margin / dual norm is what is needed."""
    weight = torch.randn(3, generator=torch.Generator().manual_seed(seed))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    model[1].weight.data = torch.stack([weight, -weight])
    image = torch.full((3, 1, 1), 0.5)
    model[1].bias.data = torch.tensor([0.25, -0.25]) - torch.stack([weight, -weight]) @ image.flatten()
    return Classifier(model, class_names=["a", "b"]), image, weight


@pytest.mark.covers("15.11")
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_proven_exactly_where_it_is_true_and_the_grid_is_fine_enough(norm):
    classifier, image, weight = linear()
    constant = float(torch.linalg.vector_norm(weight, DUALS[norm]))
    needed = 0.25 / constant
    settings = {"norm": norm, "tau": 0.04 if norm == "linf" else 0.02, "lipschitz": constant}
    proven = lipschitz_verdict(classifier, image, 0, epsilon=0.4 * needed, **settings)
    assert proven.proven
    assert proven.exhausted
    assert proven.statement.startswith(f"no adversarial image within {norm} distance")
    assert "provided that the given Lipschitz bounds hold" in proven.statement
    certified = proven.certified(0, 2)
    assert (certified.prediction.tolist(), certified.radius.tolist()) == ([0], [pytest.approx(0.4 * needed)])
    false = lipschitz_verdict(classifier, image, 0, epsilon=1.3 * needed, **settings)
    assert not false.proven
    assert false.found is not None
    change = torch.linalg.vector_norm((false.found - image).flatten(), ORDERS[norm])
    assert needed - 1e-6 <= float(change) <= 1.3 * needed + 1e-6
    assert false.severity == pytest.approx(float(change), abs=1e-6)
    assert classifier(false.found[None]).argmax() == 1
    assert false.certified(0, 2).prediction.tolist() == [-1]


@pytest.mark.covers("15.11")
def test_no_guarantee_without_a_bound_or_with_a_part_of_the_grid_or_a_coarse_one():
    classifier, image, weight = linear()
    constant = float(weight.norm())
    settings = {"norm": "l2", "epsilon": 0.05 / constant, "tau": 0.02}
    unbounded = lipschitz_verdict(classifier, image, 0, lipschitz=None, **settings)
    assert unbounded.exhausted
    assert not unbounded.proven
    assert "no Lipschitz bound was given" in unbounded.statement
    part = lipschitz_verdict(classifier, image, 0, lipschitz=constant, most=5, **settings)
    assert not part.exhausted
    assert not part.proven
    assert part.looked_at <= 5
    assert "nothing is proven" in part.statement
    coarse = lipschitz_verdict(classifier, image, 0, lipschitz=constant, **(settings | {"tau": 0.5}))
    assert coarse.found is None
    assert not coarse.proven
    assert coarse.slack < 0


@pytest.mark.covers("15.11")
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("seed", range(4))
def test_a_proof_is_never_wrong(norm, seed):
    # Whatever tau and epsilon: where it is proven, epsilon is below what the linear model needs.
    classifier, image, weight = linear(seed)
    constant = float(torch.linalg.vector_norm(weight, DUALS[norm]))
    needed, proven = 0.25 / constant, 0
    for factor in (0.2, 0.5, 0.8, 0.95, 1.01, 1.1):
        for tau in (0.3, 0.1, 0.04):
            verdict = lipschitz_verdict(
                classifier, image, 0, norm=norm, epsilon=factor * needed, tau=tau * needed, lipschitz=constant
            )
            proven += verdict.proven
            assert not (verdict.proven and factor > 1)
    assert proven


def test_every_image_of_the_box_has_a_grid_image_within_half_a_diagonal():
    generator = torch.Generator().manual_seed(0)
    alpha, tau = torch.rand(5, generator=generator, dtype=torch.float64), 0.23
    inside = torch.rand(2000, 5, generator=generator, dtype=torch.float64)
    nearest = (alpha + tau * ((inside - alpha) / tau).round()).clamp(0, 1)
    for norm, order in ORDERS.items():
        distance = torch.linalg.vector_norm(nearest - inside, order, dim=1).max()
        assert distance <= half_diagonal(5, tau, norm) + 1e-12
    assert half_diagonal(5, tau, "l2") == pytest.approx(5**0.5 * tau / 2)


def test_bounds_may_differ_by_class_and_must_fit():
    classifier, image, weight = linear()
    constant = float(weight.norm())
    settings = {"norm": "l2", "epsilon": 0.05 / constant, "tau": 0.02}
    one, each = (lipschitz_verdict(classifier, image, 0, lipschitz=b, **settings) for b in (constant, [constant] * 2))
    assert one.slack == each.slack
    for wrong in ([1.0], [1.0, -1.0], float("nan")):
        with pytest.raises(InputError, match="Lipschitz bounds must be finite"):
            lipschitz_verdict(classifier, image, 0, lipschitz=wrong, **settings)
    with pytest.raises(InputError, match="norm of l1, l2, linf; got 'l0'"):
        lipschitz_verdict(classifier, image, 0, norm="l0", epsilon=1, tau=0.1, lipschitz=1.0)
    with pytest.raises(InputError, match="tau > 0"):
        lipschitz_verdict(classifier, image, 0, norm="l2", epsilon=1, tau=0, lipschitz=1.0)


def test_a_search_that_is_too_large_ends_early():
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(27, 2)), class_names=["a", "b"])
    image = torch.full((3, 3, 3), 0.5)
    label = int(model(image[None]).argmax())
    told = lipschitz_verdict(model, image, label, norm="l2", epsilon=0.1, tau=0.5, lipschitz=1.0, most=10)
    assert not told.exhausted
    assert not told.proven


@pytest.mark.parametrize(("norm", "order"), [("l1", 1.0), ("l2", 2.0)])
def test_only_vectors_inside_the_ball_are_made(norm, order):
    every = itertools.product(range(-2, 3), repeat=3)
    inside = {move for move in every if sum(abs(step) ** order for step in move) <= 2.0**order}
    made = list(_moves(3, 2.0, order, 2))
    assert len(made) == len(set(made))
    assert set(made) == inside
