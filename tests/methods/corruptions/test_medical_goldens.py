"""The 21 kinds of MedMNIST-C against numbers measured on the authors' code: see "origin" in golden/medmnist_c.json."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.benchmarks import MEDMNIST_C, benchmark

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("medmnist_c.json").read_text("utf-8"))
#: The tables of these are those of the first organ set, which test_medmnist_tables.py checks.
SAME_AS = {"organcmnist": "organamnist", "organsmnist": "organamnist"}

POINTS = torch.arange(16)
ROWS, COLUMNS, CHANNELS = (7 + 53 * POINTS) % 224, (11 + 97 * POINTS) % 224, POINTS % 3
EDGES = (1e-9, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1.0)

#: How values become bytes in the kinds that the authors leave to Pillow and torchvision: cut after this scale and this
#: addition. All others cut 255 · value.
BYTES = {
    "pixelate": (255, 0.5),
    "gaussian_blur": (255, 0.5),
    "gamma_corr_up": (255.999, 0),
    "gamma_corr_down": (255.999, 0),
}

#: Runs of ours (4 of noise), and the shares by which the mean change and the mean power may be off besides what
#: sampling explains: stains and letters have shapes of our own.
RUNS = {"stain_deposit": 100, "bubble": 60, "characters": 100, "motion_blur": 16}
CHANGE_SHARE = {"stain_deposit": 0.02, "characters": 0.05}
POWER_SHARE = {"stain_deposit": 0.3, "characters": 0.2}


def same(name):
    return SAME_AS.get(name, name)


def settings(table):
    return [(name, kind) for name in MEDMNIST_C for kind in GOLDEN[table][same(name)]]


@cache
def photograph(rgb):
    if rgb:
        pixels = data.immunohistochemistry()[100:324, 100:324]
    else:
        pixels = np.repeat(data.camera()[60:284, 120:344, None], 3, axis=2)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def as_published(changed, rgb, kind):
    """Bytes as the authors' builder stores them, turned to grey as Pillow does."""
    scale, added = BYTES.get(kind, (255, 1e-3))
    levels = torch.floor(changed * scale + added).long()
    if not rgb:
        weights = torch.tensor([19595, 38470, 7471]).view(1, 3, 1, 1)
        levels = ((levels * weights).sum(1, keepdim=True) + 32768) >> 16
    return levels.double()


def corrupted(name, kind, severity, runs):
    found = benchmark(name)
    images = (photograph(found.rgb).float() / 255).repeat(runs, 1, 1, 1)
    values = found.strength(kind, severity, 224, 224).values
    changed = found.operator(kind).function(images, Randomness(5).bind(runs), **values)
    return as_published(changed, found.rgb, kind)


def radial_power(change):
    """Mean power between each two of the edges, and the number of frequencies that it is a mean of."""
    spectrum = (torch.fft.rfft2(change, norm="ortho").abs() ** 2).mean((0, 1))
    radius = torch.hypot(torch.fft.fftfreq(224)[:, None], torch.fft.rfftfreq(224)[None])
    # Columns between the first and the last stand for two frequencies.
    weights = torch.full_like(spectrum, 2.0)
    weights[:, 0] = weights[:, -1] = 1.0
    rings = [weights * ((radius >= low) & (radius < high)) for low, high in pairwise(EDGES)]
    return [((spectrum * ring).sum() / ring.sum()).item() for ring in rings], [ring.sum().item() for ring in rings]


def test_photographs_are_those_of_the_goldens():
    assert photograph(True).double().mean().item() == pytest.approx(151.365, abs=1e-3)
    assert photograph(False).double().mean().item() == pytest.approx(98.439, abs=1e-3)


def test_every_kind_of_every_set_has_a_golden():
    for name in MEDMNIST_C:
        assert set(benchmark(name).kinds) == {*GOLDEN["deterministic"][same(name)], *GOLDEN["random"][same(name)]}
    assert len({kind for name in MEDMNIST_C for kind in benchmark(name).kinds}) == 21


@pytest.mark.parametrize(("name", "kind"), settings("deterministic"))
def test_kinds_without_chance_equal_the_authors(name, kind):
    for severity, (mean, spread, *values) in enumerate(GOLDEN["deterministic"][same(name)][kind], start=1):
        ours = corrupted(name, kind, severity, 1)
        found = ours[0, CHANNELS if benchmark(name).rgb else 0, ROWS, COLUMNS]
        assert (found - torch.tensor(values, dtype=torch.float64)).abs().max() <= 1
        assert ours.mean().item() == pytest.approx(mean, abs=0.4 if kind == "pixelate" else 0.05)
        assert ours.std(correction=0).item() == pytest.approx(spread, abs=0.05)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in settings("random") if pair[0] not in SAME_AS])
def test_kinds_with_chance_have_the_authors_moments_and_spectrum(name, kind):
    clean = photograph(benchmark(name).rgb).double()
    clean = clean if benchmark(name).rgb else clean[:1]
    for severity in (1, 5):
        runs, change, change_spread, mean, mean_spread, *power = GOLDEN["random"][name][kind][severity - 1]
        ours = corrupted(name, kind, severity, RUNS.get(kind, 4))
        changes, means = (ours - clean).abs().mean((1, 2, 3)), ours.mean((1, 2, 3))
        sampling = 4 * (1 / len(ours) + 1 / runs) ** 0.5
        off = sampling * change_spread
        assert changes.mean().item() == pytest.approx(change, abs=off + CHANGE_SHARE.get(kind, 0.005) * change)
        assert means.mean().item() == pytest.approx(mean, abs=sampling * mean_spread + 0.1)
        if len(ours) >= 60:  # a few runs do not tell it
            assert 0.7 < changes.std().item() / change_spread < 1.4
        for found, count, expected in zip(*radial_power(ours - clean), power, strict=True):
            share = POWER_SHARE.get(kind, 0.03) + 2 * off / change + 4 * (2 / (count * len(ours))) ** 0.5
            assert found == pytest.approx(expected, rel=share)
