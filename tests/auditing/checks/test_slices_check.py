"""What a slice must show beyond its classes."""

from dataclasses import replace

import numpy as np

from snellen.auditing.checks.slices import Slices
from snellen.checks.per_image import PerImage
from snellen.core.evidence import Evidence
from snellen.metrics.inspection.slices import find_slices
from tests.auditing.readings import reading


def test_a_class_that_is_worse_is_no_slice():
    rng, n = np.random.default_rng(0), 2000
    labels = rng.integers(0, 5, n)
    wrong = rng.random(n) < np.where(labels == 0, 0.4, 0.05)
    features = rng.normal(size=(n, 8)) + 6 * np.eye(8)[labels]
    ids = tuple(f"{row:05d}" for row in range(n))
    images = PerImage(
        ids=ids, labels=labels, predictions=np.where(wrong, (labels + 1) % 5, labels), unit_ids=ids,
        confidence=np.full(n, 0.9), features=features.astype(np.float32),
    )  # fmt: skip
    plain = find_slices(features, wrong, labels=labels, predictions=images.predictions)
    assert min(plain.p_values) < 1e-6, "the region of the class is much worse than the rest"
    base = reading(Evidence.merge([]), Evidence.of(["x"], setting="clean", model="m", prediction=[0]), list("abcde"))
    told = Slices().conclude(replace(base, images=images))
    assert told.hypotheses
    assert min(one.p_value for one in told.hypotheses) > 0.001, "but no worse than the rest of its class"
