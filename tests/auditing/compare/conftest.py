"""Audits on disk, made once."""

import numpy as np
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.core.classifier import Classifier
from snellen.data.references import load_images
from snellen.testing.conformance import small_problem


@pytest.fixture(scope="session")
def audits(tmp_path_factory):
    """Run directories of one classifier twice, and of one that always answers the first class."""
    classifier, images, _ = small_problem(count=60, size=8)
    pixels = (images * 255).round().byte()
    with torch.no_grad():
        labels = classifier(pixels / 255).argmax(1).numpy()
    given = load_images((pixels.permute(0, 2, 3, 1).numpy(), labels.astype(np.int64)))
    constant = Classifier(
        lambda batch: torch.eye(5)[torch.zeros(len(batch), dtype=torch.long)],
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        name="<b>\x1b[2Jalways a",
    )
    folder = tmp_path_factory.mktemp("audits")
    checks = ["clean", "calibration", "selective", {"check": "corruption", "kinds": ["fog"], "severities": [1, 5]}]
    for name, model in (("a", classifier), ("again", classifier), ("constant", constant)):
        audit(model, given, out=folder / name, checks=checks)
    return folder
