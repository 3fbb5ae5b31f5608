"""Spatter: the published formulas on the same draws, the peer's figures, the contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.weather import spatter, water_relief
from tests.methods.corruptions.weather import deviations, distances, keeps_the_contract, picture, published


def liquid(rng: Randomness, side: int, values: dict[str, float]) -> np.ndarray:
    """Smoothed noise, dry places at zero: (side, side)."""
    noise = rng.normal("liquid", (1, side, side))[0, 0].double().numpy()
    layer = gaussian_filter(values["location"] + values["scale"] * noise, values["deviation"], mode="nearest")
    layer[layer < values["threshold"]] = 0
    return layer


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("severity", range(5))
def test_formula(size: str, severity: int) -> None:
    values = published("spatter", size)[severity]
    side = {"large": 224, "small": 32}[size]
    images, rng = picture()[None, :, :side, :side], Randomness(severity).bind(1)
    layer, image = liquid(rng, side, values), images[0].double().permute(1, 2, 0).numpy()
    if values["mud"]:
        cover = gaussian_filter((layer > values["threshold"]).astype(float), values["strength"], mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        expected = image * (1 - cover) + cover * np.array([63, 42, 20]) / 255
    else:
        relief = water_relief(torch.from_numpy(layer)[None].float())[0].double().numpy()[..., None]
        expected = image + values["strength"] * relief * np.array([175, 238, 238]) / 255
    ours = spatter(images, rng, **values)[0].permute(1, 2, 0).double().numpy()
    differs = np.abs(ours - expected.clip(0, 1)) > 1e-4
    # A value on the edge of a byte or of a threshold may fall to the other side in float32.
    assert differs.mean() < 1e-3


def test_relief_of_water_is_opencvs() -> None:
    golden = load_file(Path(__file__).parent / "golden" / "opencv_edges.safetensors")
    light = golden["planes"].float() * golden["smoothed"].float()
    expected = light / light.amax((1, 2), keepdim=True)
    torch.testing.assert_close(water_relief((golden["planes"].float() + 0.5) / 255), expected)


def test_figures_are_the_peers() -> None:
    differences, errors = deviations(spatter, 48)
    assert np.all(np.abs(differences) < 4 * errors)
    assert np.all(errors[:, :6] < 0.003)


def test_contract() -> None:
    between = {"location": 0.65, "scale": 0.3, "deviation": 2.6, "threshold": 0.68, "strength": 0.55, "mud": 0.4}
    keeps_the_contract(spatter, [*published("spatter"), *published("spatter", "small"), between])


@pytest.mark.parametrize("mud", [0.0, 1.0])
def test_where_nothing_falls_the_image_stays(mud: float) -> None:
    images = picture()[None]
    dry = {"location": 0.1, "scale": 0.1, "deviation": 3.0, "threshold": 0.9, "strength": 0.6}
    assert torch.equal(spatter(images, Randomness(0).bind(1), **dry, mud=mud), images)


def test_colours() -> None:
    black, white = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    rng = Randomness(0).bind(1)
    water = spatter(black, rng, **{**published("spatter")[2], "strength": 1.0})
    brightest = water[0, :, water[0].sum(0) == water[0].sum(0).max()][:, 0]
    torch.testing.assert_close(brightest, torch.tensor([175.0, 238.0, 238.0]) / 255)
    mud = spatter(white, rng, **published("spatter")[4])
    darkest = mud[0, :, mud[0].sum(0) == mud[0].sum(0).min()][:, 0]
    torch.testing.assert_close(darkest, torch.tensor([63.0, 42.0, 20.0]) / 255, rtol=0, atol=0.01)


def test_more_changes_more() -> None:
    values = published("spatter")[2]
    brighter = distances(spatter, [{**values, "strength": strength} for strength in (0.0, 0.2, 0.5, 1.0)])
    assert brighter[0] == 0.0
    assert brighter == sorted(brighter)
    muddy = published("spatter")[3]
    wetter = distances(spatter, [{**muddy, "threshold": threshold} for threshold in (0.75, 0.7, 0.65, 0.6)])
    assert wetter == sorted(wetter)
