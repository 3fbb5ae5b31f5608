"""The check ``certified``: runs where a model says that it was trained under noise, and tells what its votes prove."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.auditing.checks import resolve_checks
from snellen.auditing.checks.certified import Certified
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.methods.smoothing.branches import SmoothedNetwork
from snellen.methods.smoothing.certifying import average_radius
from snellen.methods.smoothing.dual_smoothing import DualSmoothing
from snellen.methods.smoothing.smoothing import Smoothing

NAMES = ["dark", "light"]
CHECK = {"check": "certified", "share": 1.0, "samples": 200, "selection": 50}


class Brightness(nn.Module):
    def forward(self, images):
        value = 8 * (images.flatten(1).sum(1) - self.middle)
        return torch.stack([-value, value], 1)

    def __init__(self, middle):
        super().__init__()
        self.middle = middle


def smoothed(view=None):
    network = SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 2}, sigma=0.25, view=view)
    middle = 0.5 * 3 * 64 / (1 if view is None else 2)
    network.networks = nn.ModuleList(Brightness(middle) for _ in network.networks)
    return Classifier(network, class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="smoothed")


@pytest.fixture
def images():
    levels = np.array([20, 100, 124, 131, 160, 250] * 2, dtype=np.uint8)
    pixels = np.broadcast_to(levels[:, None, None], (12, 8, 8)).copy()
    return load_arrays(pixels, [0, 0, 1, 1, 1, 1] * 2, class_names=NAMES)


@pytest.mark.parametrize("view", [None, "zeros"])
def test_a_smoothed_model_is_certified_as_it_was_trained(view, images, tmp_path):
    classifier = smoothed(view)
    report = snellen.audit(classifier, images, checks=[CHECK], out=tmp_path / "run")
    method = (Smoothing if view is None else DualSmoothing)(samples=200, selection=50)
    assert type(Certified(samples=200, selection=50).method(classifier)) is type(method)
    accuracy, abstentions, radius = (
        report.metrics[f"certified.{name}"] for name in ("accuracy", "abstentions", "average_radius")
    )
    assert accuracy.n == abstentions.n == radius.n == 12
    # Two of each six are wrong or undecided: a dark one that is called light, and one at the threshold at most.
    assert accuracy.value in (8 / 12, 9 / 12, 10 / 12)
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert 0 < radius.value < method.largest(classifier)
    (panel,) = [panel for panel in report.panels if panel.check == "certified"]
    shares = [point.y for point in panel.lines[0].points]
    assert shares == sorted(shares, reverse=True)
    assert panel.lines[0].points[-1].x == pytest.approx(method.largest(classifier))
    assert any("sigma 0.25" in note for note in report.notes)


def test_figures_are_those_of_the_evidence(images):
    check = Certified(share=1.0, samples=200, selection=50)
    classifier = smoothed()
    found = check.method(classifier).certify(
        classifier, torch.stack([classifier.prepare(images.read(row)) for row in range(12)])
    )
    assert float(found.radius.max()) <= found.largest
    right = (found.prediction == torch.from_numpy(images.labels)).numpy()
    assert average_radius(found.radius.numpy(), right) > 0


def test_other_models_are_skipped_with_the_reason(images):
    plain = Classifier(Brightness(96.0), class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="plain")
    report = snellen.audit(plain, images, checks=["certified"])
    state = next(one for one in report.checks if one.name == "certified")
    assert state.status == "skipped"
    assert "does not say that it was" in state.reason
    assert not any(name.startswith("certified") for name in report.metrics)


def test_a_share_is_drawn_by_the_ids(images):
    classifier = smoothed()
    few = snellen.audit(classifier, images, checks=[{**CHECK, "share": 0.4}])
    again = snellen.audit(classifier, images, checks=[{**CHECK, "share": 0.4}], batch_size=5)
    assert 0 < few.metrics["certified.accuracy"].n < 12
    assert few.metrics["certified.average_radius"] == again.metrics["certified.average_radius"]


def test_it_runs_by_default_after_the_attacks():
    names = [check.name for check in resolve_checks(None)]
    assert names.index("certified") == names.index("adversarial") + 1


def test_images_that_cannot_be_queried_under_grey_noise_are_reported_and_count_nowhere(images):
    network = SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 2}, sigma=0.25, grey=True)
    network.networks = nn.ModuleList([Brightness(96.0)])
    grey = Classifier(network, class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="grey")
    pixels = np.full((6, 8, 8, 3), 250, dtype=np.uint8)
    pixels[:2, 0, 0, 0] = 0
    for some, asked in ((pixels, 4), (pixels[:2], None)):
        found = load_arrays(some, [1] * len(some), class_names=NAMES)
        report = snellen.audit(grey, found, checks=[CHECK], batch_size=2)
        assert any("2 drawn images were not certified and count in no figure: noise" in note for note in report.notes)
        figure = report.metrics.get("certified.accuracy")
        assert (None if figure is None else figure.n) == asked
