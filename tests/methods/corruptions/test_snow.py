"""Snow: the published formula on the same draws, the peer's figures, the contract."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom as scipy_zoom

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.weather import snow
from tests.methods.corruptions.weather import deviations, distances, keeps_the_contract, picture, published

Plane = NDArray[np.float64]


def enlarged(layer: Plane, factor: float) -> Plane:
    side = len(layer)
    cropped = math.ceil(side / factor)
    top = (side - cropped) // 2
    layer = scipy_zoom(layer[top : top + cropped, top : top + cropped], factor, order=1)
    trim = (len(layer) - side) // 2
    return layer[trim : trim + side, trim : trim + side]


def blurred(layer: Plane, radius: int, deviation: float, angle: float) -> Plane:
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / deviation) ** 2)
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    rows, columns = np.indices(layer.shape)
    total = np.zeros_like(layer)
    for step, weight in enumerate(weights / weights.sum()):
        below, beside = math.ceil(step * down - 0.5), math.ceil(step * right - 0.5)
        total += weight * layer[(rows + below).clip(0, len(layer) - 1), (columns + beside).clip(0, len(layer) - 1)]
    return total


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("severity", range(5))
def test_formula(size: str, severity: int) -> None:
    values = published("snow", size)[severity]
    side = {"large": 224, "small": 32}[size]
    images, rng = picture()[None, :, :side, :side], Randomness(severity).bind(1)
    layer = values["location"] + values["scale"] * rng.normal("flakes", (1, side, side))[0, 0].double().numpy()
    layer = enlarged(layer, values["zoom"])
    layer[layer < values["threshold"]] = 0
    layer = np.floor(layer.clip(0, 1) * 255) / 255
    angle = float(rng.uniform("angle", (), -135, -45)[0])
    layer = blurred(layer, int(values["radius"]), values["deviation"], angle)
    image = images[0].double().permute(1, 2, 0).numpy()
    grey = (image @ [0.299, 0.587, 0.114])[..., None]
    image = values["keep"] * image + (1 - values["keep"]) * np.maximum(image, 1.5 * grey + 0.5)
    expected = np.clip(image + (layer + np.rot90(layer, 2))[..., None], 0, 1)
    difference = np.abs(snow(images, rng, **values)[0].permute(1, 2, 0).double().numpy() - expected)
    # A value that lies on a byte's edge may fall to the other side in float32.
    assert difference.max() < 1 / 255
    assert difference.mean() < 1e-5


def test_figures_are_the_peers() -> None:
    differences, errors = deviations(snow, 48)
    assert np.all(np.abs(differences) < 4 * errors)
    assert np.all(errors[:, :6] < 0.002)


def test_contract() -> None:
    between = {
        name: (first + last) / 2
        for (name, first), last in zip(*(published("snow")[0].items(), published("snow")[4].values()), strict=True)
    }
    keeps_the_contract(snow, [*published("snow"), *published("snow", "small"), between])


def test_no_flakes_and_all_kept_is_the_identity() -> None:
    images = picture()[None]
    nothing = {"location": 0.0, "scale": 0.1, "zoom": 2.0, "threshold": 0.9, "radius": 5.0, "deviation": 2.0}
    torch.testing.assert_close(snow(images, Randomness(0).bind(1), **nothing, keep=1.0), images)


def test_flakes_fall_and_lie_the_same_upside_down() -> None:
    black = torch.zeros(8, 3, 96, 96)
    layer = snow(black, Randomness(0).bind(8), **{**published("snow")[0], "keep": 1.0})
    torch.testing.assert_close(layer, layer.flip((2, 3)))
    along, across = layer.diff(dim=2).abs().mean(), layer.diff(dim=3).abs().mean()
    assert float(along) < 0.8 * float(across)


def test_more_changes_more() -> None:
    values = published("snow")[0]
    thicker = distances(snow, [{**values, "threshold": threshold} for threshold in (0.9, 0.7, 0.5, 0.3)])
    whiter = distances(snow, [{**values, "keep": keep} for keep in (1.0, 0.8, 0.5)])
    assert thicker == sorted(thicker)
    assert whiter == sorted(whiter)
