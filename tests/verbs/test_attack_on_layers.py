"""An attack that changes a layer: told as such, and no clean image is passed off as adversarial."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError
from snellen.systems.representation_transfer.method import RepresentationTransfer
from snellen.verbs.attack import attack
from snellen.verbs.attack_figures import verdict
from tests.verbs.small_attacks import small_images


def test_a_change_of_a_layer_is_no_image(tmp_path):
    classifier, images = small_images()
    layer = next(
        name for name in classifier.layers if "Flatten" in type(classifier.module.get_submodule(name)).__name__
    )
    attacked = attack(
        classifier, images, RepresentationTransfer(layer=layer, epsilon=20.0, steps=10), out=tmp_path / "made"
    )
    (figures,) = attacked.settings.values()
    assert figures.success_rate.value > 0.5
    assert figures.success_rate_8_bits.n == 0
    assert f"change of the layer {layer}" in figures.verdict
    assert "image found" not in figures.verdict
    assert not list((tmp_path / "made").rglob("*.png"))
    assert not list((tmp_path / "made").rglob("adversarial*.npz"))
    table = attacked.evidence.where(setting="representation_transfer").table
    found = [row for row in table.to_pylist() if row["success"]]
    assert found
    assert all(row["linf"] == pytest.approx(row["value"], rel=1e-5) for row in found), "sizes are those of the change"
    assert {row["place"] for row in found} == {found[0]["place"]} != {"pixels"}
    record = json.loads((tmp_path / "made" / "attack.json").read_text())
    assert record["settings"]["representation_transfer"]["success_rate_8_bits"]["value"] is None


def test_at_the_pixels_it_is_an_image(tmp_path):
    classifier, images = small_images()
    attacked = attack(classifier, images, RepresentationTransfer(epsilon=0.5, steps=10), out=tmp_path / "made")
    (figures,) = attacked.settings.values()
    assert "adversarial image found" in figures.verdict
    assert figures.success_rate_8_bits.n > 0
    assert list((tmp_path / "made").rglob("adversarial*.npz"))


def test_words_of_a_verdict():
    assert verdict(0, 3, place="2") == (
        "no adversarial change of the layer 2, found within budget for any of 3 attacked images"
    )
    assert verdict(3, 3, place="2") == "an adversarial change of the layer 2, found for each of 3 attacked images"


def test_what_the_model_refuses_is_not_reported_as_scores_that_are_not_finite():
    class Trembling(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            scores = self.inner(images)
            return scores + 1e-2 * torch.randn_like(scores)

    classifier, images = small_images()
    layer = next(iter(classifier.layers))
    noisy = Classifier(Trembling(classifier.module), class_names=classifier.class_names)
    with pytest.raises(ModelError, match="random"):
        attack(noisy, images, RepresentationTransfer(layer=f"inner.{layer}", epsilon=1.0, steps=2))


def test_a_size_is_reported_in_the_evidence():
    classifier, images = small_images()
    layer = next(iter(classifier.layers))
    attacked = attack(classifier, images, RepresentationTransfer(layer=layer, epsilon=0.5, steps=2))
    assert any("0.5 of the root mean square" in told for told in attacked.evidence.assumptions)
    assert verdict(0, 0, lost=4) == "nothing is known: all 4 searches met scores that are not finite"
