"""The benchmark shape on a problem whose every answer is known."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.metrics.sweep import curve, drops, failure_points, measure, ranking

IDS = ["i0", "i1", "i2", "i3"]


def brightness_classifier(threshold, name):
    """Class 1 if the mean brightness is above the threshold."""
    return Classifier(
        lambda images: torch.stack([-(images.mean((1, 2, 3)) - threshold), images.mean((1, 2, 3)) - threshold], 1) * 50,
        class_names=["dark", "bright"],
        name=name,
    )


@pytest.fixture
def evidence():
    images = torch.tensor([0.1, 0.2, 0.3, 0.9]).view(4, 1, 1, 1).expand(4, 3, 2, 2).contiguous()
    labels = torch.tensor([0, 0, 0, 1])

    def validity(clean, shifted):
        return ["too bright" if float(image.max()) > 0.95 else None for image in shifted]

    return measure(
        [brightness_classifier(0.5, "first"), brightness_classifier(0.35, "second")],
        images,
        labels,
        name="lift",
        transformation=lambda x, strength, rng: (x + 0.1 * strength).clamp(0, 1),
        strengths=[1, 2, 3],
        ids=IDS,
        rng=Randomness(0),
        validity=validity,
    )


def test_rows_are_paired_by_item_setting_and_model(evidence):
    assert len(evidence) == 4 * 4 * 2
    assert evidence.settings == ["lift.0", "lift.1", "lift.2", "lift.3"]
    invalid = evidence.where(status="invalid").table
    assert invalid["example_id"].to_pylist() == ["i3"] * 6
    assert set(invalid["reason"].to_pylist()) == {"too bright"}
    assert invalid["prediction"].null_count == 6
    assert evidence.spent.queries == 2 * (4 + 3 * 3), "invalid images are not sent to any model"


def test_curve(evidence):
    first = curve(evidence, "lift", "first")
    assert [(p.strength, p.n, p.accuracy) for p in first] == [(0, 4, 1), (1, 3, 1), (2, 3, 1), (3, 3, 2 / 3)]
    assert all(p.low <= p.accuracy <= p.high for p in first)
    second = curve(evidence, "lift", "second")
    assert [p.accuracy for p in second] == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_drops_are_paired_over_valid_images(evidence):
    second = drops(evidence, "lift", "second")
    assert [(d.strength, d.n) for d in second] == [(1, 3), (2, 3), (3, 3)]
    assert [d.value for d in second] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all(d.low <= d.value <= d.high for d in second)


def test_failure_points(evidence):
    assert failure_points(evidence, "lift", "first") == {"i0": None, "i1": None, "i2": 3.0, "i3": None}
    assert failure_points(evidence, "lift", "second") == {"i0": 3.0, "i1": 2.0, "i2": 1.0, "i3": None}


def test_ranking(evidence):
    assert ranking(evidence, ["lift", "absent"], "second") == [("lift", pytest.approx(2 / 3))]


def test_known_neutral_scores_save_the_pass():
    model = brightness_classifier(0.5, "m")
    images, labels = torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.int64)
    known = {"m": model(images)}
    before = model.spent.queries
    arguments = {"name": "n", "transformation": lambda x, s, rng: x * 0.5, "strengths": [1.0], "ids": IDS}
    with_known = measure([model], images, labels, rng=Randomness(0), neutral_scores=known, **arguments)
    assert model.spent.queries - before == 4
    assert with_known.table.equals(measure([model], images, labels, rng=Randomness(0), **arguments).table)


def test_errors():
    model = brightness_classifier(0.5, "m")
    images, labels = torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.int64)
    arguments = {"name": "n", "strengths": [1.0], "ids": IDS, "rng": Randomness(0)}
    with pytest.raises(InputError, match="different names"):
        measure([model, model], images, labels, transformation=lambda x, s, rng: x, **arguments)
    with pytest.raises(InputError, match=r"turned images \(4, 3, 2, 2\) into \(4, 3, 1, 2\)"):
        measure([model], images, labels, transformation=lambda x, s, rng: x[:, :, :1], **arguments)
    with pytest.raises(InputError, match="too close to be distinguished"):
        measure([model], images, labels, **{**arguments, "strengths": [1, 1.0000001]}, transformation=lambda x, s, r: x)


def test_scores_that_are_not_finite_fail_their_rows_and_no_others():
    def sometimes(images):
        scores = images.flatten(1)[:, :2].clone()
        scores[images[:, 0, 0, 0] > 0.6] = float("nan")
        return scores

    images = torch.tensor([0.1, 0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2).contiguous()
    rows = measure(
        [Classifier(sometimes, class_names="ab", name="m")],
        images,
        torch.tensor([0, 0]),
        name="lift",
        transformation=lambda x, strength, rng: x + 0.2 * strength,
        strengths=[1],
        ids=["a", "b"],
        rng=Randomness(0),
    )
    assert rows.table["status"].to_pylist() == ["ok", "ok", "ok", "failed"]
    assert rows.table["reason"].to_pylist()[-1] == "the model's scores are not finite"
    assert [(p.strength, p.n) for p in curve(rows, "lift", "m")] == [(0, 2), (1, 1)]
