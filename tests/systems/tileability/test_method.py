"""snellen scan tileability, on folders of textures, with a metric by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.systems.tileability import method
from snellen.systems.tileability.method import TileabilityScan
from snellen.systems.tileability.tileability import Tileability
from tests.systems.tileability.test_synthesis import Smooth


@pytest.fixture
def by_hand(monkeypatch):
    monkeypatch.setattr(method, "load_tileability", lambda reference: Tileability(Smooth(), 128).eval())


@pytest.fixture
def folder(tmp_path):
    """Two textures, a small picture, a damaged file."""
    place = tmp_path / "textures of mine"
    place.mkdir()
    steps = np.arange(64) / 64 * 2 * np.pi
    wave = 0.5 + 0.4 * np.sin(2 * steps)[:, None] * np.cos(3 * steps)[None]
    ramp = np.linspace(0, 1, 64)[:, None] * np.ones(64)[None]
    for name, values in (("wave", wave), ("ramp", ramp)):
        Image.fromarray((values * 255).astype(np.uint8)).save(place / f"{name}.png")
    Image.fromarray(np.zeros((20, 40), dtype=np.uint8)).save(place / "small.png")
    (place / "damaged.png").write_bytes(b"no picture")
    return place


@pytest.mark.covers("21.6")
def test_textures_are_scored_and_bad_files_are_named(by_hand, folder, tmp_path):
    found = snellen.scan(None, folder, "tileability", out=tmp_path / "scan", allow_rejected=1.0)
    rows = {row["example_id"]: row for row in found.evidence.table.to_pylist()}
    wave, ramp = rows["wave.png"], rows["ramp.png"]
    assert wave["value"] > 0 > ramp["value"]
    assert wave["reason"] is None
    assert ramp["reason"] == "a seam"
    assert ramp["seam_ratio"] > 10 > 2 > wave["seam_ratio"]
    assert wave["score"] == pytest.approx(1 / (1 + np.exp(-0.25 * wave["value"])))
    assert rows["small.png"]["status"] == "rejected"
    assert "32 or more" in rows["small.png"]["reason"]
    assert rows["damaged.png"]["status"] == "rejected"
    figures = found.settings["tileability"]
    assert figures.statistic == 0.5
    assert figures.verdict.startswith("1 of 2 textures do not repeat")


def test_a_repetition_without_a_seam_is_named_so(monkeypatch, folder):
    class Never(nn.Module):
        def forward(self, pictures):
            return torch.full((len(pictures),), -1.0)

    monkeypatch.setattr(method, "load_tileability", lambda reference: Tileability(Never(), 128))
    found = snellen.scan(None, folder, "tileability", allow_rejected=1.0)
    reasons = {row["example_id"]: row["reason"] for row in found.evidence.table.to_pylist()}
    assert reasons["wave.png"] == "no seam, but a repetition that shows"


def test_large_pictures_are_made_smaller(by_hand, tmp_path):
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "large.png")
    found = snellen.scan(None, tmp_path, "tileability")
    assert found.evidence.table["status"].to_pylist() == ["ok"]


def test_an_unknown_model_is_one_sentence(folder):
    with pytest.raises(InputError, match="names no tileability metric"):
        snellen.scan(None, folder, TileabilityScan(model="mine"), allow_rejected=1.0)


def test_a_texture_that_passes_with_a_jump_at_its_seams_is_named(monkeypatch, folder):
    monkeypatch.setattr(method, "load_tileability", lambda reference: Tileability(Passes(), 128).eval())
    found = snellen.scan(None, folder, "tileability", allow_rejected=1.0)
    figures = found.settings["tileability"]
    assert "all 2 textures repeat, as far as the metric sees; 1 more have a jump at their seams" in figures.verdict
    assert figures.figures["pass with a jump"] == 1


class Passes(nn.Module):
    """Calls every texture repeating."""

    def forward(self, pictures):
        return torch.ones(len(pictures))
