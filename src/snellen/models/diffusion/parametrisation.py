"""What a diffusion network predicts: noise, image or velocity; one follows from the other.

A noisy image is x = alpha x0 + sigma eps with alpha² + sigma² = 1. The velocity is v = alpha eps − sigma x0 (Salimans
and Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*, 2022). All three are affine in each
other for a given x, so a *difference* of two predictions turns from one kind into another by a factor.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from snellen.core.errors import InputError

#: Names as in the configurations of diffusers; ``sample`` is the clean image.
Prediction = Literal["epsilon", "v_prediction", "sample"]


def check_prediction(name: str) -> Prediction:
    """The name as a kind of prediction.

    Raises:
        InputError: a kind that is not known, flow matching for instance.
    """
    for known in get_args(Prediction):
        if name == known:
            return known
    raise InputError(f"prediction type {name!r} is not one of {', '.join(get_args(Prediction))}")


def to_x0(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean image that a prediction implies.

    >>> import torch
    >>> x0, eps = torch.tensor([2.0]), torch.tensor([-1.0])
    >>> x = 0.8 * x0 + 0.6 * eps
    >>> given = (eps, "epsilon"), (0.8 * eps - 0.6 * x0, "v_prediction")
    >>> [round(float(to_x0(prediction, kind, x, 0.8, 0.6)), 4) for prediction, kind in given]
    [2.0, 2.0]
    """
    if kind == "epsilon":
        return (x - sigma * prediction) / alpha
    return alpha * x - sigma * prediction if kind == "v_prediction" else prediction


def to_epsilon(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise that a prediction implies."""
    if kind == "sample":
        return (x - alpha * prediction) / sigma
    return sigma * x + alpha * prediction if kind == "v_prediction" else prediction


def to_velocity(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The velocity that a prediction implies."""
    if kind == "epsilon":
        return (prediction - sigma * x) / alpha
    return (alpha * x - prediction) / sigma if kind == "sample" else prediction


def convert(prediction: Tensor, kind: Prediction, wanted: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """A prediction of one kind as one of another; the same tensor where the kinds agree."""
    if kind == wanted:
        return prediction
    if wanted == "sample":
        return to_x0(prediction, kind, x, alpha, sigma)
    change = to_epsilon if wanted == "epsilon" else to_velocity
    return change(prediction, kind, x, alpha, sigma)


def convert_difference(difference: Tensor, kind: Prediction, wanted: Prediction, alpha: float, sigma: float) -> Tensor:
    """A difference of two predictions at the same x, in another kind: d_x0 = −sigma/alpha d_eps = −sigma d_v."""
    if kind == wanted:
        return difference
    # Each kind as a multiple of the velocity, which exists at both ends of the schedule.
    multiples = {"epsilon": alpha, "v_prediction": 1.0, "sample": -sigma}
    return difference * (multiples[wanted] / multiples[kind])
