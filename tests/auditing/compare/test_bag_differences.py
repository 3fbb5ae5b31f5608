"""Two audits of the same bags: paired by bag, patients as units; bags alone; other poolings, and other bags."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.auditing.compare.bag_differences import BagPair, compare_bag_findings
from snellen.auditing.compare.compare import compare
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.data.references import load_images
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
    return Classifier(dimmer, class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="dim")


def by_name(comparison):
    return {one.name: one for one in comparison.figures}


def test_the_same_bags_are_paired_and_missed_ones_are_reported(tmp_path, dim):
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


def test_how_bags_are_decided_belongs_to_the_model_and_is_reported(tmp_path):
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
    model = Classifier(blind, class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="blind")
    run(tmp_path / "first", by_brightness(), images)
    run(tmp_path / "second", model, images)
    accuracy = by_name(compare(tmp_path / "first", tmp_path / "second"))["bags.accuracy"]
    assert (accuracy.first, accuracy.second) == (1.0, 0.0), "the twelve positive bags that both could score"
    turned = by_name(compare(tmp_path / "second", tmp_path / "first"))["bags.accuracy"]
    assert (turned.first, turned.second) == (0.0, 1.0)


def misled(brightest=0.9):
    """Twelve of twenty positive bags have an image that is brighter than their tumour."""
    made = []
    for number in range(40):
        label = number % 2
        values = [brightest, 0.7, 0.1] if label else [0.3, 0.2, 0.1]
        made.append(Bag(f"s{number:02d}", label, values, [0 if label and number < 24 else label, label, 0]))
    return made


def blinded(batch):
    """Probability of tumour: the brightness, and little of the brightest images."""
    bright = batch.mean((1, 2, 3))
    tumour = torch.where(bright > 0.8, 0.2 * bright, bright).clamp(1e-6, 1 - 1e-6)
    return torch.stack([1 - tumour, tumour], 1).log()


def test_evidence_is_compared_on_the_bags_that_both_runs_find(tmp_path):
    sound = Classifier(blinded, class_names=NAMES, preparation=Preprocessing(size=(8, 8)), name="sound")
    images, brighter = image_set(misled()), image_set(misled(0.95))
    relabelled = image_set([replace(one, truth=[one.label, one.label, 0]) for one in misled()])
    for name, model, given in (
        ("first", by_brightness(), images),
        ("second", sound, images),
        ("other", sound, brighter),
        ("relabelled", by_brightness(), relabelled),
    ):
        run(tmp_path / name, model, given)
    run(tmp_path / "none", sound, images, threshold=0.8)
    records = {one.name: RunRecord.read(one) for one in tmp_path.iterdir()}

    def found(first, second):
        pair = BagPair.of(pair_runs(records[first], records[second]))
        return compare_bag_findings(pair, "tumour").get("bag_evidence:tumour")

    one = found("first", "second")
    assert (one.first, one.second, one.paired, one.n) == (0.6, 0.0, True, 20)
    assert one.fall == pytest.approx(mcnemar(12, 0, alternative="greater"))
    assert one.remark == "of the 20 positive bags that both runs find"
    assert found("first", "none") is None, "the second run finds none of these bags"
    assert (found("first", "other").paired, found("first", "other").first) == (False, 0.6)
    # Where the labels of the images were corrected, the bags that hold them say nothing of the model.
    kept = found("first", "relabelled")
    assert (kept.n, kept.identical) == (8, True)


def test_bags_of_another_label_are_compared_nowhere(tmp_path):
    made = bags()
    turned = [replace(one, label=1 - one.label) if number < 4 else one for number, one in enumerate(made)]
    for name, given in (("first", made), ("second", turned)):
        run(tmp_path / name, by_brightness(), image_set(given))
    found = compare(tmp_path / "first", tmp_path / "second")
    assert found.paired
    accuracy = by_name(found)["bags.accuracy"]
    assert (accuracy.n, accuracy.first, accuracy.second) == (20, 1.0, 1.0)


def test_labels_of_bags_that_their_images_contradict_are_counted(tmp_path):
    made = bags()
    contradicted = [
        replace(one, truth=[0, 0, 0, 0]) if one.label and number < 8 else one for number, one in enumerate(made)
    ]
    for name, given in (("first", contradicted), ("second", made)):
        run(tmp_path / name, by_brightness(), image_set(given))
    found = {one.key: one for one in compare(tmp_path / "first", tmp_path / "second").findings}["bag_contradiction"]
    assert found.verdict == "mended"
    assert found.reason == "counted: 4 of 24 bags, then 0 of 24"


def test_a_group_that_has_other_bags_is_not_paired_and_said_so(tmp_path, dim):
    made = bags()
    moved = [replace(one, group="south") if number in (0, 1) else one for number, one in enumerate(made)]
    run(tmp_path / "first", by_brightness(), image_set(made))
    run(tmp_path / "second", by_brightness(), image_set(moved))
    pair = pair_runs(RunRecord.read(tmp_path / "first"), RunRecord.read(tmp_path / "second"))
    gap = compare_bag_findings(BagPair.of(pair), "tumour")["bag_group_gap:south"]
    assert (gap.paired, gap.remark) == (False, "not paired: other bags belong to it in the second run")


def test_each_of_several_groups_is_compared(tmp_path, dim):
    images = image_set(bags())
    site = images.column("group")
    scanner = ["GE" if (row // 8) % 2 else "Siemens" for row in range(len(images))]
    given = load_images(images, groups={"site": site, "scanner": scanner})
    run(tmp_path / "first", by_brightness(), given)
    run(tmp_path / "second", dim, given)
    pair = pair_runs(RunRecord.read(tmp_path / "first"), RunRecord.read(tmp_path / "second"))
    keys = {key for key in compare_bag_findings(BagPair.of(pair), "tumour") if key.startswith("bag_group_gap:")}
    assert keys == {f"bag_group_gap:{one}" for one in ("site=north", "site=south", "scanner=GE", "scanner=Siemens")}
