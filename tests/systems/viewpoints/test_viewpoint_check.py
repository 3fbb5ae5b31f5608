"""The check ``viewpoint``: objects that are lost from behind are found, counted by hand, and nothing is guessed."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.data.worlds.view_set import ViewedObject
from snellen.systems.viewpoints.check import Viewpoint
from snellen.systems.viewpoints.seen_objects import Seen, SeenObject, worst_region
from tests.data.worlds.glowing_objects import SIDE, glowing_set, reader

LIGHT = tuple(f"light-{number:02d}" for number in range(20))
CHECKS = ["clean", {"check": "viewpoint", "views": 6, "attacked": 2, "iterations": 3}]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    images = glowing_set((*LIGHT, "damaged-x", "blank-y"))
    return audit(reader(), images, checks=CHECKS, out=folder), folder


def test_what_is_lost_from_random_viewpoints_is_found_with_its_harm(run):
    report, folder = run
    figures = {name: one.value for name, one in report.metrics.items()}
    assert figures["viewpoint.natural.accuracy"] == 1.0
    assert 0.35 < figures["viewpoint.random.accuracy"] < 0.65, "half of all azimuths are behind"
    assert figures["viewpoint.lost"] == pytest.approx(1 - figures["viewpoint.random.accuracy"])
    assert report.metrics["viewpoint.lost"].n == 20
    rows = json.loads((folder / "lists" / "viewpoint.json").read_text())
    assert np.mean([row["random"] for row in rows]) == pytest.approx(figures["viewpoint.random.accuracy"])
    assert sum(row["attacked"] is not None for row in rows) == 2
    told = [row["attacked"] for row in rows if row["attacked"] is not None]
    assert figures["viewpoint.attacked.accuracy"] == pytest.approx(np.mean(told))
    (finding,) = [one for one in report.findings if one.kind == "viewpoint"]
    assert finding.p_value < 1e-3
    assert 0.2 < finding.harm < figures["viewpoint.lost"]
    assert finding.facts["objects"] == 20
    assert finding.treatments[0].startswith("snellen treat . --finding viewpoint ")
    assert any("damaged-x: its file is damaged" in note for note in report.notes)
    assert any("2 of 22 objects count in no figure" in note for note in report.notes)


def test_its_figures_can_be_required_by_name(run):
    report, _ = run
    assert {name for name in report.metrics if name.startswith("viewpoint.")} == Viewpoint().figure_names()
    assert "viewpoint.attacked.accuracy" not in Viewpoint(attacked=0).figure_names()


def test_the_worst_region_is_behind_and_the_map_says_so(run):
    report, _ = run
    (finding,) = [one for one in report.findings if one.kind == "viewpoint"]
    assert report.metrics["viewpoint.worst_region.accuracy"].value == 0.0
    region = str(finding.facts["worst_region"])
    assert region.startswith(("azimuth -180", "azimuth -135", "azimuth 90", "azimuth 135")), region
    (panel,) = [one for one in report.panels if one.check == "viewpoint"]
    assert sum(row[1] for row in panel.rows) == 120
    assert "120 random views of 20 objects" in panel.heat[0].caption


def test_examples_are_images_that_are_right_beside_the_same_object_from_elsewhere(run):
    report, folder = run
    (finding,) = [one for one in report.findings if one.kind == "viewpoint"]
    assert len(finding.examples) == 5
    for example in finding.examples:
        azimuth = float(example.caption.partition("azimuth ")[2].partition("°")[0])
        assert abs(azimuth) >= 89.5, "in front of it the object is right"
        assert example.caption.endswith(": dark")
        assert example.image is not None
        assert list(folder.rglob(f"{example.after}*")), "the picture of the other view is kept"
    page = (folder / "report.html").read_text()
    assert "From where objects are recognised" in page


def test_objects_that_look_alike_from_everywhere_are_no_finding():
    dark = tuple(f"dark-{number}" for number in range(8))
    report = audit(reader(), glowing_set(dark), checks=["clean", {"check": "viewpoint", "attacked": 0}])
    assert report.metrics["viewpoint.lost"].value == 0.0
    assert "viewpoint.attacked.accuracy" not in report.metrics
    assert [one.kind for one in report.findings if one.kind == "viewpoint"] == []


def test_attacked_objects_are_drawn_among_those_that_have_a_right_view_to_lose(tmp_path):
    class Always(nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    always = Classifier(Always(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)))
    whole = (*(f"dark-{number}" for number in range(4)), *LIGHT)
    check = {"check": "viewpoint", "views": 2, "attacked": 4, "iterations": 1}
    audit(always, glowing_set(whole), checks=["clean", check], out=tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "lists" / "viewpoint.json").read_text())
    attacked = {row["id"] for row in rows if row["attacked"] is not None}
    assert len(attacked) == 4
    assert {row["class"] for row in rows if row["id"] in attacked} == {"light"}
    assert attacked != set(LIGHT[:4]), "a set is often one class after the other"


def test_photos_need_a_set_of_views(tmp_path):
    photos = snellen.load_images("bundled:fashion-mnist").limit(12)
    fashion = snellen.load_classifier("bundled:fashion-cnn")
    report = audit(fashion, photos, checks=["clean", Viewpoint()])
    (told,) = [one for one in report.checks if one.name == "viewpoint"]
    assert "needs views whose renderer is known" in told.reason
    with pytest.raises(InputError, match=r"renderer=bundled:fashion-mnist: .* not views whose renderer is known"):
        audit(fashion, photos, checks=["clean", {"check": "viewpoint", "renderer": "bundled:fashion-mnist"}])
    names = ("car", "mug", *(f"other {number}" for number in range(8)))
    other = snellen.load_classifier("bundled:fashion-cnn", class_names=names)
    numbered = snellen.load_images((np.stack([np.array(photos.read(row)) for row in range(12)]), photos.labels))
    given = {
        "check": "viewpoint",
        "renderer": "optotypes:solids?classes=car,mug&objects=2&views=2&size=32",
        "attacked": 0,
    }
    report = audit(other, numbered, checks=["clean", given])
    assert report.metrics["viewpoint.natural.accuracy"].n == 8
    assert all(one.examples == () for one in report.findings if one.kind == "viewpoint")


def test_two_audits_are_compared_by_what_they_lose(run, tmp_path):
    _, folder = run
    audit(reader(), glowing_set((*LIGHT, "damaged-x", "blank-y")), checks=CHECKS, out=tmp_path / "again")
    compared = compare(folder, tmp_path / "again")
    told = {one.key: one for one in compared.findings}
    assert told["viewpoint"].difference == 0.0


def test_the_worst_region_is_measured_on_objects_that_did_not_choose_it():
    def one(name, azimuths, right):
        views = torch.tensor([[0.0, azimuth, 0.0, 4.0, 0.0, 0.0] for azimuth in azimuths], dtype=torch.float64)
        seen = Seen(np.arange(len(right)), views, np.zeros(len(right), np.int64), np.array(right))
        return SeenObject(ViewedObject(name, 0, views, ()), seen, seen)

    choosing = [one(f"a{n}", (100, 10), (False, True)) for n in range(3)]
    telling = [one(f"b{n}", (100, 10), (True, False)) for n in range(3)]
    found = worst_region([*choosing, *telling], np.array([True] * 3 + [False] * 3))
    assert found.region.azimuth == (90, 135)
    assert (found.right, found.views) == (1.0, 3)
    assert worst_region(choosing, np.array([True] * 3)) is None
    assert worst_region([*choosing[:2], *telling], np.array([True] * 2 + [False] * 3)) is None, "too few objects"
