"""What a perceptualized classifier is shown to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.systems.perception.layer import PerceptualLayer, perceive
from snellen.systems.perception.method import Perception
from snellen.systems.perception.perceptualized import PerceptualizedNetwork, architecture


def classifier(weight: float = 0.5) -> Classifier:
    """An autoencoder that takes every pixel a part of the way."""
    record = architecture(
        {"kind": "perceptron", "width": 4, "side": 8, "channels": 1},
        PerceptualLayer(copies=1, steps=6, strength=0.0),
        {"name": "perceptron", "class_count": 2, "side": 8},
    )
    record.pop("name")
    network = PerceptualizedNetwork(**record)
    network.autoencoder.layers = nn.Sequential(_Scaled(weight))
    return Classifier(network.eval(), class_names=["a", "b"], name="seen")


class _Scaled(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.weight * images


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.covers("20.1")
def test_the_chain_from_the_observed_to_the_seen_image_is_shown(images: torch.Tensor) -> None:
    model = classifier()
    explained = Perception(shown=2).explain(model, images, torch.zeros(3, dtype=torch.int64))
    assert list(explained.edits) == ["seen after step 2", "seen after step 4", "seen"]
    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(explained.edits["seen after step 4"], (grey / 16).expand(-1, 3, -1, -1))
    network = model.module
    assert isinstance(network, PerceptualizedNetwork)
    seen = perceive(network.autoencoder, grey, network.layer)
    torch.testing.assert_close(explained.edits["seen"], seen.expand(-1, 3, -1, -1))
    torch.testing.assert_close(explained.figures["moved"], (grey * (1 - 1 / 64)).flatten(1).norm(dim=1))
    assert len(explained.records[0]["moves"]) == 6
    assert explained.status == ("ok",) * 3


def test_an_image_that_runs_away_is_reported(images: torch.Tensor) -> None:
    images[0] = 0.0
    explained = Perception(shown=0).explain(classifier(1e12), images, torch.zeros(3, dtype=torch.int64))
    assert explained.status[0] == "ok"
    assert all("runs away" in status for status in explained.status[1:])
    assert explained.edits["seen"][1:].max() == 0
    assert explained.figures["moved"].isnan().tolist() == [False, True, True]
    assert None in explained.records[1]["moves"]
    assert None not in explained.records[0]["moves"]


def test_the_nearest_remembered_image_is_named(images: torch.Tensor, tmp_path: Path) -> None:
    for name, level in (("dark", 0), ("light", 255)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / name / "one.png")
    method = Perception(shown=0, remembered=str(tmp_path))
    explained = method.explain(classifier(), images, torch.zeros(3, dtype=torch.int64))
    assert explained.text is not None
    assert all("dark/one.png (dark)" in sentence for sentence in explained.text)
    assert explained.edits["nearest remembered image"].max() == 0
    torch.testing.assert_close(
        explained.figures["distance_to_remembered"], (images.mean(1) / 64).flatten(1).norm(dim=1)
    )


def test_a_classifier_that_perceives_nothing_is_refused(images: torch.Tensor) -> None:
    plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval(), class_names=["a", "b"], name="plain")
    assert "train one with 'snellen train perceptual-autoencoder'" in (Perception().missing(plain) or "")
    with pytest.raises(InputError, match="plain has none"):
        Perception().explain(plain, images, torch.zeros(3, dtype=torch.int64))
