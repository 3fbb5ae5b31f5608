"""The shape checks of the suite bite, and reach every name under which a function is called."""

import pytest
import torch
from jaxtyping import TypeCheckError

import snellen.methods.attacks.perturbation
import snellen.methods.attacks.perturbation.objectives
import snellen.methods.corruptions.blur
from snellen.core.criterion import Misclassified, margin
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.projections import L2Ball, l2_norm
from snellen.methods.corruptions.corruption import Corruption
from tests.shapes import OPERATORS, SHAPES, checked, operators

SCORES, LABELS = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])
ONE_SCORE_SHORT = SCORES[:3]


def test_a_right_call_passes_unchanged():
    assert margin(SCORES, LABELS).shape == (4,)
    assert Misclassified().success(SCORES, LABELS).shape == (4,)
    assert l2_norm(torch.rand(2, 3, 4, 4)).shape == (2, 1, 1, 1)
    multilabel = snellen.methods.attacks.perturbation.cross_entropy(SCORES, torch.randint(0, 2, (4, 3)))
    assert multilabel.shape == (4,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: margin(ONE_SCORE_SHORT, LABELS),  # imported by name in this file
        lambda: margin(SCORES, LABELS.float()),
        lambda: Misclassified().success(SCORES[None], LABELS),  # a method
        lambda: snellen.methods.attacks.perturbation.cross_entropy(ONE_SCORE_SHORT, LABELS),  # re-exported by a package
        lambda: snellen.methods.attacks.perturbation.objectives.negative_margin(ONE_SCORE_SHORT, LABELS),
        lambda: L2Ball(0.1).distance(torch.rand(3, 4), torch.rand(3, 4)),  # called inside the library
        lambda: snellen.methods.corruptions.blur.gaussian_blur(torch.rand(3, 8, 8), Randomness(0), deviation=1.0),
        lambda: Corruption(kind="contrast").shift(torch.rand(1, 2, 3, 8, 8), 1.0),  # held in a table
    ],
)
def test_a_wrong_shape_or_type_is_caught(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_result_is_caught():
    def split_in_two(images, factor=1):
        """Drops half of the images."""
        return images[::2] * factor

    same_shape = {"images": SHAPES["snellen.methods.attacks.perturbation.projections:l2_norm"]["values"]}
    enforced = checked(split_in_two, {**same_shape, "return": same_shape["images"]})
    assert enforced(torch.rand(1, 3, 2, 2), factor=2).shape == (1, 3, 2, 2)
    with pytest.raises(TypeCheckError):
        enforced(torch.rand(2, 3, 2, 2))


def test_all_corruption_operators_are_found():
    found = {target.partition(":")[2] for package in OPERATORS for target in operators(package)}
    assert {"gaussian_noise", "gaussian_blur", "brightness", "contrast", "pixelate"} <= found
    assert "strength" not in found
