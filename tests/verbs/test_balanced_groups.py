"""A generated set for an audit: as many images of each group, labelled by a classifier that took no part."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.systems.distributional_control.method import DistributionalControl
from snellen.verbs.balanced_groups import as_groups, equally_many, label_note

FIT = {"steps": 3, "batch_size": 4, "blocks": 2, "hidden": 8, "check_every": 1, "checked": 16, "warm_up": 0.0}
COLOURS = ("red", "green", "blue")


def requested(folder, **options):
    given = {"words": COLOURS, "template": "a {} shape", "shares": "uniform", "fit": FIT, "samples": 256}
    return DistributionalControl(control=str(folder), **{**given, **options})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls") / "balanced"
    requested(folder).make_ready()
    return folder


@pytest.fixture(scope="module")
def balanced(fitted, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "made"
    return snellen.generate(
        requested(fitted), "classes:?count=4", out=out, batch_size=5, balance="group", truth="bundled:scene-cnn"
    )


def test_groups_are_equally_frequent_and_labels_are_the_other_classifiers(balanced):
    images = snellen.load_images(balanced.manifest)
    assert Counter(images.column("group")) == dict.fromkeys(COLOURS, 4)
    truth = snellen.load_classifier("bundled:scene-cnn")
    pixels = torch.stack([truth.prepare(images.read(row)) for row in range(len(images))])
    seen = [truth.class_names[place] for place in truth(pixels).argmax(1)]
    assert [images.class_names[label] for label in images.labels] == seen
    assert not set(images.class_names) & set(COLOURS)
    record = json.loads((balanced.folder / "generate.json").read_text())
    assert record["plan"]["balance"] == "group"
    assert "scene-cnn" in record["plan"]["truth"]["name"]


def test_an_audit_takes_the_set_and_reports_its_groups(balanced):
    report = snellen.audit("bundled:scene-cnn", str(balanced.manifest), checks=["clean", "group_gap"])
    assert report.metrics["clean.accuracy"].value == 1.0, "its own decisions: what a truth of another network is for"
    assert report.metrics["group_gap.worst_accuracy"].n == 4, "images of a group"


def test_images_that_did_not_get_their_group_are_left_out_and_the_others_cut_to_as_many(fitted, tmp_path):
    made = snellen.generate(
        requested(fitted, tries=1), "classes:?count=12", out=tmp_path / "made", balance="group",
        truth="bundled:scene-cnn", sheet=False,
        allow_rejected=True,
    )  # fmt: skip
    counts = Counter(snellen.load_images(made.manifest).column("group"))
    assert counts.keys() == set(COLOURS)
    assert len(set(counts.values())) == 1
    assert 0 < counts["blue"] < 12
    reasons = [one.reason for one in made.rejected]
    assert any("draws showed no" in reason for reason in reasons)
    assert len(reasons) + made.written == 36
    kept = set(snellen.load_images(made.manifest).ids)
    assert kept.isdisjoint(one.id for one in made.rejected)


def test_a_guide_as_truth_half_of_the_options_and_an_empty_group_are_refused(fitted, tmp_path):
    shapes = requested(
        tmp_path / "shapes", words=(), classifier="bundled:scene-cnn", template="a {}", shares="", classes=("star",)
    )
    with pytest.raises(InputError, match="is the classifier that took part in making the images"):
        snellen.generate(shapes, "classes:star?count=1", out=tmp_path / "a", balance="group", truth="bundled:scene-cnn")
    with pytest.raises(InputError, match="--balance group --truth MODEL, or neither"):
        snellen.generate(requested(fitted), "classes:?count=1", out=tmp_path / "b", balance="group")
    with pytest.raises(InputError, match="no image of the group 'blue' was generated"):
        equally_many([{"id": "1", "group": "red"}], ["red", "blue"])


def test_a_note_says_whose_labels_and_groups_are_and_warns_of_a_classifier_of_other_images(balanced):
    made = snellen.load_images(balanced.manifest)
    assert (
        "labels here are by bundled:scene-cnn, which guided nothing, and only the draws are by the guide: "
        in balanced.notes[-1]
    )
    assert balanced.notes[-1].endswith("the requested classes are the groups")
    garments = snellen.load_classifier("bundled:fashion-cnn")
    bags, _ = as_groups(replace(made, table=made.table.drop_columns(["group"])), garments)
    note = label_note(bags, garments)
    assert note.startswith("warning: bundled:fashion-cnn sees 'Bag' in all 12 images."), note
