"""Giving up early is off by default, costs less where nothing can be found, and is refused where it has no goal."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fab import FAB
from snellen.methods.attacks.square import Square
from snellen.testing.conformance import small_problem

ATTACKS = {
    "targeted apgd": lambda **options: APGD(epsilon=0.01, loss="targeted_dlr", steps=40, **options),
    "apgd": lambda **options: APGD(epsilon=0.01, loss="margin", steps=40, **options),
    "fab": lambda **options: FAB(epsilon=0.01, steps=40, **options),
    "square": lambda **options: Square(epsilon=0.01, queries=200, **options),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_patience_spends_less_and_breaks_a_part_of_what_is_broken_without(name):
    classifier, images, labels = small_problem(count=48)
    whole, hasty = (ATTACKS[name](**options).attack(classifier, images, labels) for options in ({}, {"patience": 0.25}))
    assert 0 < whole.success.sum() < 48
    assert hasty.queries.sum() < 0.8 * whole.queries.sum()
    assert not (hasty.success & ~whole.success).any()
    assert hasty.success.sum() >= whole.success.sum() - 2


@pytest.mark.parametrize("name", list(ATTACKS))
def test_patience_is_off_by_default(name):
    assert ATTACKS[name]().patience is None
    assert all(stage.patience is None for stage in StandardEnsemble().stages().values())


@pytest.mark.parametrize("name", list(ATTACKS))
def test_towards_a_target_the_same_sign_is_hope(name):
    classifier, images, labels = small_problem(count=24)
    targets = (labels + 1) % 5
    whole, hasty = (
        ATTACKS[name](**options).model_copy(update={"epsilon": 0.05}).attack(
            classifier, images, targets, criterion=Targeted()
        )
        for options in ({}, {"patience": 0.25})
    )  # fmt: skip
    assert whole.success.any()
    assert hasty.success.sum() >= whole.success.sum() - 2


def test_far_away_images_are_left_after_two_intervals():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model[1].weight.data = 0.01 * torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    model[1].bias.data = torch.tensor([100.0, 0, 0, 0, 0])
    classifier, images = Classifier(model, class_names="abcde"), torch.rand(3, 3, 4, 4)
    attack = Square(epsilon=0.01, queries=400, patience=0.1)
    assert attack.attack(classifier, images, torch.zeros(3, dtype=torch.int64)).queries.tolist() == [42] * 3


def test_the_ensemble_hands_it_on_and_what_has_no_goal_refuses_it():
    stages = StandardEnsemble(patience=0.2).stages()
    assert {name: stage.patience for name, stage in stages.items()} == {
        "apgd-ce": None, "apgd-t": 0.2, "fab-t": 0.2, "square": 0.2,
    }  # fmt: skip
    with pytest.raises(InputError, match="cross_entropy does not"):
        APGD(patience=0.2)
    with pytest.raises(InputError, match="set epsilon, or leave patience out"):
        FAB(patience=0.2)
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError):
            Square(patience=wrong)
