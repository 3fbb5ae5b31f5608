"""A coverage is given where the images say something about it, and nowhere else."""

import numpy as np

from snellen.auditing.checks.selective import Selective
from snellen.checks.check import CheckInput
from snellen.checks.per_image import PerImage
from snellen.core.evidence import Evidence
from tests.auditing.readings import reading

EMPTY = Evidence.merge([])
CLASSIFIER = reading(EMPTY, Evidence.of(["x"], setting="clean", model="m", prediction=[0]), ["no", "yes"]).classifier


def concluded(n, wrong=0, risk=0.01):
    """Of n images, those with the least confidence wrong."""
    labels, ids = np.arange(n) % 2, tuple(map(str, range(n)))
    predictions = np.where(np.arange(n) < n - wrong, labels, 1 - labels)
    known = PerImage(ids=ids, labels=labels, predictions=predictions, confidence=np.linspace(1, 0.5, n), unit_ids=ids)
    return Selective(risk=risk).conclude(CheckInput(evidence=EMPTY, images=known, classifier=CLASSIFIER))


def test_a_share_that_may_be_any_share_is_no_figure():
    found = concluded(60)
    assert set(found.metrics) == {"selective.aurc"}
    (note,) = found.notes
    assert note.startswith("selective.coverage is not given: at an error of at most 1.0% these 60 images leave every")
    assert "About 545 " in note


def test_more_images_or_a_larger_error_bring_it():
    for found in (concluded(545), concluded(120, risk=0.05), concluded(60, wrong=50)):
        figure = found.metrics["selective.coverage"]
        assert (figure.low, figure.high) != (0, 1)
        assert "selective.coverage is the share" in found.notes[0]
