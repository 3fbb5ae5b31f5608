"""Two audits of the same bags: paired by bag, patients as units; bags alone; other poolings, and other bags."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preparation import Preparation
from snellen.metrics.paired_test import mcnemar
from tests.auditing.hand_made_bags import NAMES, Bag, by_brightness, image_set


def dimmer(batch):
    """Probability of tumour: half of the brightness."""
    half = (batch.mean((1, 2, 3)) / 2).clamp(1e-6, 1 - 1e-6)
    return torch.stack([1 - half, half], 1).log()


def bags(units=None, seed=0, count=24):
    """The strongest image of a positive bag has 0.8, that of a negative one 0.3; a patient has slides of one label."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = number // (units or 1) % 2
        values = [0.8 if label else 0.3, *rng.uniform(0, 0.2, 3)]
        unit = None if units is None else f"patient {number // units}"
        site = "north" if number < count // 2 else "south"
        made.append(Bag(f"s{number:02d}", label, values, [label, 0, 0, 0], unit, site))
    return made


def run(folder, model, images, **parameters):
    chosen = {"check": "bags", "pooling": "max", "shown": 0, **parameters}
    return audit(model, images, out=folder, checks=["clean", chosen], allow_rejected=True)


@pytest.fixture
def dim():
    """A classifier that misses tumour; as by_brightness, of another model."""
    return Classifier(dimmer, class_names=NAMES, preparation=Preparation(size=(8, 8)), name="dim")


def by_name(comparison):
    return {one.name: one for one in comparison.figures}


def test_the_same_bags_are_paired_and_missed_ones_are_told(tmp_path, dim):
    images = image_set(bags())
    run(tmp_path / "first", by_brightness(), images)
    run(tmp_path / "second", dim, images)
    found = compare(tmp_path / "first", tmp_path / "second")
    figures = by_name(found)
    accuracy = figures["bags.accuracy"]
    assert (accuracy.first, accuracy.second, accuracy.paired) == (1.0, 0.5, True)
    assert accuracy.verdict == "worse"
    # Without patients every bag is a unit: twelve were lost, none was gained.
    assert accuracy.p_value == pytest.approx(2 * mcnemar(12, 0, alternative="greater"))
    assert figures["bags.auroc"].verdict == "same", "halved scores order bags as before"
    assert figures["bags.sensitivity"].reason.endswith("compare bags.auroc")
    verdicts = {one.key: one.verdict for one in found.findings}
    assert verdicts["missed_bags:tumour"] == "new"


def test_slides_of_one_patient_count_as_one(tmp_path, dim):
    widths = []
    for name, units in (("alone", None), ("together", 4)):
        images = image_set(bags(units, count=48))
        run(tmp_path / f"{name} first", by_brightness(), images)
        run(tmp_path / f"{name} second", dim, images)
        one = by_name(compare(tmp_path / f"{name} first", tmp_path / f"{name} second"))["bags.accuracy"]
        widths.append(one.high - one.low)
    assert widths[1] > 1.3 * widths[0]


def test_runs_that_know_labels_of_bags_alone_can_be_compared(tmp_path, dim):
    images = image_set(bags())
    bare = replace(images, table=images.table.drop_columns(["label"]))
    run(tmp_path / "first", by_brightness(), bare)
    run(tmp_path / "second", dim, bare)
    found = compare(tmp_path / "first", tmp_path / "second")
    assert by_name(found)["bags.accuracy"].verdict == "worse"
    assert any("only decisions on bags are compared" in note for note in found.notes)
    nothing = replace(images, table=images.table.drop_columns(["label", "bag_id", "bag_label"]))
    for name in ("third", "fourth"):
        audit(dim, nothing, out=tmp_path / name, checks=["clean"])
    with pytest.raises(InputError, match="measured no labelled image"):
        compare(tmp_path / "third", tmp_path / "fourth")


def test_how_bags_are_decided_belongs_to_the_model_and_is_told(tmp_path):
    images = image_set(bags())
    run(tmp_path / "first", by_brightness(), images)
    run(tmp_path / "second", by_brightness(), images, pooling="mean", threshold=0.2)
    found = compare(tmp_path / "first", tmp_path / "second")
    assert by_name(found)["bags.accuracy"].difference is not None
    assert found.notes[-1] == (
        "Bags are decided by max, positive from 0.5 on in the first run, "
        "and by mean, positive from 0.2 on in the second."
    )


def test_another_positive_class_is_another_question(tmp_path):
    images = image_set(bags())
    run(tmp_path / "first", by_brightness(), images)
    run(tmp_path / "second", by_brightness(), images, positive="healthy")
    figure = by_name(compare(tmp_path / "first", tmp_path / "second"))["bags.auroc"]
    assert figure.difference is None
    assert "positive tumour and healthy" in figure.reason


def test_other_bags_are_compared_unpaired(tmp_path, dim):
    run(tmp_path / "first", by_brightness(), image_set(bags()))
    run(tmp_path / "second", dim, image_set(bags(seed=5, count=30)))
    found = compare(tmp_path / "first", tmp_path / "second")
    accuracy = by_name(found)["bags.accuracy"]
    assert (accuracy.paired, accuracy.verdict) == (False, "worse")
    verdicts = {one.key: one.verdict for one in found.findings}
    assert verdicts["missed_bags:tumour"] == "new"


def test_bags_that_one_run_could_not_score_are_left_out(tmp_path):
    def blind(batch):
        scores = dimmer(batch)
        # The brightest image of a negative bag, and with it no bag but its own, has no score.
        scores[(batch.mean((1, 2, 3)) > 0.25) & (batch.mean((1, 2, 3)) < 0.35)] = float("nan")
        return scores

    made = [Bag(b.id, b.label, b.probabilities[:1], b.truth[:1]) for b in bags()]
    images = image_set(made)
    model = Classifier(blind, class_names=NAMES, preparation=Preparation(size=(8, 8)), name="blind")
    run(tmp_path / "first", by_brightness(), images)
    run(tmp_path / "second", model, images)
    accuracy = by_name(compare(tmp_path / "first", tmp_path / "second"))["bags.accuracy"]
    assert (accuracy.first, accuracy.second) == (1.0, 0.0), "the twelve positive bags that both could score"
    turned = by_name(compare(tmp_path / "second", tmp_path / "first"))["bags.accuracy"]
    assert (turned.first, turned.second) == (0.0, 1.0)
