"""The check for masked gradients: told of saturated models, not of others, with its evidence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from snellen import audit, load_images
from snellen.auditing.checks import CHECKS, resolve_checks
from snellen.auditing.checks.masking import Masking
from snellen.auditing.masking import masking_attacks
from snellen.auditing.threat import Threat
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.testing.conformance import small_problem
from snellen.training.batches import ImageStore
from snellen.training.distillation import distil, scale_last_layer
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from tests.auditing.readings import conclusion

QUICK = {"share": 1.0, "steps": 4, "queries": 10, "threats": (Threat(norm="linf", size=4),)}


class Times(nn.Module):
    """Scores that are so many times as large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores * self.factor


def scaled(factor: float, count: int = 60) -> tuple[Classifier, ImageSet]:
    """The small problem with larger logits: the same decisions, and gradients that vanish."""
    classifier, images, _ = small_problem(count=count, size=12)
    assert classifier.module is not None
    model = Classifier(
        nn.Sequential(classifier.module, Times(factor)), class_names=list("abcde"), name=f"times {factor:g}",
        preparation=classifier.preparation,
    )  # fmt: skip
    pixels = (images * 255).round().byte()
    labels = model(pixels / 255).argmax(1)
    return model, load_images((pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()))


def reported(classifier: Classifier, images: ImageSet, **options: object) -> list[Finding]:
    report = audit(classifier, images, checks=[Masking(**{**QUICK, **options})])
    return [finding for finding in report.findings if finding.kind == "gradient_masking"]


@pytest.mark.covers("10.6")
def test_saturated_scores_are_reported_with_their_evidence_and_sound_ones_are_not() -> None:
    (finding,) = reported(*scaled(1e5))
    assert (finding.subject, finding.harm) == ("linf.4", 0.0)
    assert finding.p_value is not None
    assert finding.p_value < 1e-6
    assert finding.facts["zero_gradient_share"] > 0.8
    assert {"zero gradient", "fgsm_margin", "pgd_margin"} <= set(str(finding.facts["signs"]).split(", "))
    assert "exactly zero on" in finding.title
    assert "no harm counted" in finding.title
    assert "robust" not in finding.title
    assert len(finding.examples) == 5
    assert reported(*scaled(1.0)) == []


def test_a_declared_threat_has_harm() -> None:
    model, images = scaled(1e5)
    report = audit(model, images, checks=["adversarial", Masking(**QUICK)], threats=["linf:4/255"])
    (finding,) = [one for one in report.findings if one.kind == "gradient_masking" and one.subject == "linf.4"]
    assert finding.harm > 0.2
    assert "no harm counted" not in finding.title


def test_figures_are_accuracies_under_each_attack() -> None:
    model, images = scaled(1e5)
    report = audit(model, images, checks=[Masking(**QUICK)])
    for name in masking_attacks(QUICK["threats"][0], steps=1, queries=1):
        figure = report.metrics[f"masking.linf.4.{name}.accuracy"]
        assert (figure.n, figure.low <= figure.value <= figure.high) == (60, True)
    plain, margin = (report.metrics[f"masking.linf.4.{name}.accuracy"].value for name in ("pgd", "pgd_margin"))
    assert margin < plain
    assert any("not that the model is robust" in note for note in report.notes)


def test_a_share_is_drawn_by_ids() -> None:
    model, images = scaled(1.0)
    half = audit(model, images, checks=[Masking(**{**QUICK, "share": 0.5})]).metrics
    shuffled = images.select(np.random.default_rng(0).permutation(60))
    again = audit(model, shuffled, checks=[Masking(**{**QUICK, "share": 0.5})]).metrics
    assert 15 < half["masking.zero_gradient_share"].n < 45
    for name, figure in half.items():
        if name.startswith("masking."):
            assert figure.n == again[name].n
            assert figure.value == pytest.approx(again[name].value, abs=0.05)


@pytest.mark.parametrize(("surrogate", "norm"), [(True, "linf"), (False, "l2")])
def test_a_surrogate_adds_transferred_images(surrogate: bool, norm: str) -> None:
    model, _ = scaled(1.0)
    threat = Threat(norm=norm, size=4 if norm == "linf" else 0.5)  # type: ignore[arg-type]
    names = set(masking_attacks(threat, steps=2, queries=5, surrogate=model if surrogate else None))
    assert ("transfer" in names) == surrogate


def test_without_evidence_nothing_is_said() -> None:
    clean = Evidence.of(["1"], setting="clean", model="m", label=[0], prediction=[0], value=[0.9])
    found = conclusion(Masking(), Evidence.merge([]), clean, ["a", "b"])
    assert (found.metrics, list(found.hypotheses)) == ({}, [])


def test_it_is_registered_and_declared_threats_reach_it() -> None:
    assert tuple(CHECKS) == tuple(index.checks())
    checks = {check.name: check for check in resolve_checks(None, ["linf:2/255"])}
    masking = checks["masking"]
    assert isinstance(masking, Masking)
    assert [threat.label for threat in masking.tried] == ["linf.2"]
    assert [threat.label for threat in Masking().tried] == ["linf.8"]


def test_parameters_that_cannot_be_meant_are_refused() -> None:
    model, images = scaled(1.0)
    with pytest.raises(InputError, match="each threat only once"):
        Masking(threats=("linf:8/255", "linf:8/255"))
    with pytest.raises(InputError, match="tolerance"):
        resolve_checks([{"check": "masking", "tolerance": 0}])
    assert "none is, such as linf:8/255" in str(Masking(threats=()).missing(model, images, frozenset()))
    assert Masking().missing(model, images, frozenset()) is None
    assert Masking().cost() < Masking(share=1.0).cost() / 3


SHAPES = ("circle", "star")


@pytest.fixture(scope="module")
def scenes() -> tuple[ImageStore, ImageSet]:
    world = Scenes(
        count=180, shapes=SHAPES, sizes=("large",), tilts=("upright",), backgrounds=("grey",), captions=False
    )
    given = world.images(split="train")
    pixels = torch.stack([torch.from_numpy(np.array(given.read(row))) for row in range(180)]).permute(0, 3, 1, 2)
    store = ImageStore.of_tensors(pixels, torch.from_numpy(given.labels), split="train")
    return store, world.model_copy(update={"count": 40}).images(split="test")


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.PixelUnshuffle(4), nn.Conv2d(48, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip


@pytest.mark.covers("10.6")
def test_a_distilled_student_is_reported_and_the_same_network_undistilled_is_not(
    scenes: tuple[ImageStore, ImageSet],
) -> None:
    store, test = scenes
    plan = TrainingPlan(epochs=30, batch_size=30, learning_rate=1e-2)
    plain, student = tiny_network(), scale_last_layer(tiny_network(), 100.0)
    plain.load_state_dict(dict(train(plain, store, plan=plan).weights))
    both = distil(scale_last_layer(tiny_network(), 100.0), student, store, temperature=100.0, plan=plan)
    student.load_state_dict(dict(both.student.weights))
    found = [
        reported(Classifier(network, class_names=SHAPES, preparation=Preprocessing(size=(32, 32)), name="tiny"), test)
        for network in (plain, student)
    ]
    assert (len(found[0]), len(found[1])) == (0, 1), found
    assert found[1][0].facts["zero_gradient_share"] > 0.1
