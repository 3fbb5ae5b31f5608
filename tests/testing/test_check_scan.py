"""The check of scans refuses each broken promise."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.data.files.arrays import load_arrays
from snellen.testing import check_scan


class Honest(Method):
    """A scan that keeps its promises."""

    name: ClassVar[str] = "honest"
    told: ClassVar[dict] = {}
    calls: ClassVar[list] = []

    def scan(self, images, *, classifier=None, rng, progress=None):
        self.calls.append(1)
        fields = {
            "ids": ["a", "b"], "status": ["ok", "rejected"], "reason": [None, "damaged"], "value": [0.5, None],
            "assumptions": ("it is a test",), "statistic": 0.5, "verdict": "nothing beyond the budget",
            "pictures": [Shown("a", "", {"it": torch.zeros(3, 2, 2)})],
        } | {key: value() if callable(value) else value for key, value in self.told.items()}  # fmt: skip
        evidence = Evidence.of(
            fields["ids"], setting="honest", model="", value=fields["value"], status=fields["status"],
            reason=fields["reason"], assumptions=fields["assumptions"],
        )  # fmt: skip
        return Scanned(evidence, fields["statistic"], fields["verdict"], {}, fields["pictures"])


@pytest.fixture
def images():
    return load_arrays(np.zeros((2, 4, 4), dtype=np.uint8))


def test_an_honest_scan_passes(images):
    check_scan(Honest(), images)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"ids": ["a", "a"]}, "two rows"),
        ({"status": ["rejected", "rejected"], "reason": ["x", "y"]}, "no row that counts"),
        ({"reason": [None, None]}, "without a reason"),
        ({"statistic": float("nan")}, "is None"),
        ({"verdict": " "}, "no verdict"),
        ({"assumptions": ()}, "names no assumptions"),
        ({"pictures": [Shown("a", "", {"it": torch.full((3, 2, 2), 2.0)})]}, "leaves"),
        ({"pictures": [Shown("a", "", {"it": torch.zeros(1, 3, 2, 2)})]}, "a picture is"),
        ({"pictures": [Shown("a", "", {"it": torch.zeros(3, 2, 2)}), Shown("b", "", {})]}, "different kinds"),
        ({"value": lambda: [float(len(Honest.calls)), None]}, "finds something else"),
        ({"statistic": lambda: float(len(Honest.calls))}, "gives another verdict"),
        ({"verdict": lambda: f"seen {len(Honest.calls)} times"}, "gives another verdict"),
    ],
)
def test_a_broken_promise_is_reported(images, monkeypatch, told, message):
    monkeypatch.setattr(Honest, "told", told)
    with pytest.raises(AssertionError, match=message):
        check_scan(Honest(), images)


def test_a_scan_that_changes_the_classifier_is_reported(images, monkeypatch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))

    def spoil():
        with torch.no_grad():
            network[1].bias.add_(1)
        return "nothing beyond the budget"

    monkeypatch.setattr(Honest, "told", {"verdict": spoil})
    with pytest.raises(AssertionError, match="images or classifier were changed"):
        check_scan(Honest(), images, Classifier(network, class_names=["a", "b"]))
