"""Whole audits of bags: what the evidence carries, damaged images, limits, slides whose tiles have no labels."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snellen.auditing.audit import audit
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.limiting import limited
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.data.worlds.slides.slides import Slides
from tests.auditing.hand_made_bags import NAMES, Bag, BrightTiles, by_brightness, image_set
from tests.auditing.parsed_page import Page

NAN = float("nan")

BAGS = [
    Bag("p1", 1, [0.9, 0.1, 0.2], [1, 0, 0], "anna", "north"),
    Bag("p2", 1, [0.3, 0.2, NAN], [1, 0, 1], "bert", "north"),
    Bag("n1", 0, [0.1, 0.1, 0.1], [0, 0, 0], "carl", "south"),
    Bag("n2", 0, [0.8, 0.1, 0.1], [0, 0, 0], "dora", "south"),
    Bag("lost", 1, [NAN, NAN], [1, 0], "emil", "south"),
]

PLACES = [json.dumps({"row": row, "column": 0}) for bag in BAGS for row in range(len(bag.probabilities))]


def run(images, tmp_path, **options):
    parameters = {"check": "bags", "pooling": "max"}
    classifier = options.pop("classifier", None) or by_brightness()
    # Broken images are part of what is tested here.
    options = {"allow_rejected": True, **options}
    return audit(classifier, images, out=tmp_path / "run", checks=["clean", parameters], **options)


def test_the_evidence_carries_bags_and_reads_them_back(tmp_path):
    report = run(image_set(BAGS), tmp_path)
    table = pq.read_table(tmp_path / "run" / "evidence" / "clean.parquet")
    assert table.column_names[9:12] == ["group", "bag_id", "bag_label"]
    known = PerImage.of(Evidence.read(tmp_path / "run" / "evidence" / "clean.parquet"))
    assert known.bags == ("p1",) * 3 + ("p2",) * 2 + ("n1",) * 3 + ("n2",) * 3
    assert known.bag_labels.tolist() == [1] * 5 + [0] * 6
    assert known.select(np.array([0, 5])).bags == ("p1", "n1")
    assert known.select(np.array([0, 5])).bag_labels.tolist() == [1, 0]
    assert report.metrics["bags.accuracy"].value == 0.5


def test_sets_without_bags_have_the_evidence_they_had(tmp_path):
    images = image_set([bag for bag in BAGS if bag.id != "lost"])
    plain = replace(images, table=images.table.drop_columns(["bag_id", "bag_label"]))
    report = run(plain, tmp_path)
    table = pq.read_table(tmp_path / "run" / "evidence" / "clean.parquet")
    assert table.column_names[9:] == ["group", "scores"]
    assert PerImage.of(Evidence.read(tmp_path / "run" / "evidence" / "clean.parquet")).bag_labels is None
    (status,) = [check for check in report.checks if check.name == "bags"]
    assert (status.status, status.reason) == ("skipped", "needs bags (column bag_id), and slides of squares has none")
    assert all("heat" not in panel for panel in report.to_json()["panels"])


def test_a_bag_of_which_nothing_can_be_used_is_reported_and_counts_nowhere(tmp_path):
    report = run(image_set(BAGS), tmp_path)
    assert report.metrics["bags.accuracy"].n == 4
    assert any("of 1 bag (lost) no image could be used: it has no score" in note for note in report.notes)
    assert any("1 bag (p2) has images that could not be used" in note for note in report.notes)
    rows = {row["id"]: row for row in json.loads((tmp_path / "run" / "lists" / "bags.json").read_text())}
    assert (rows["lost"]["images"], rows["lost"]["used"], rows["lost"]["score"], rows["lost"]["right"]) == (
        2,
        0,
        None,
        None,
    )
    assert (rows["p2"]["images"], rows["p2"]["used"], rows["p2"]["right"]) == (3, 2, False)
    assert rows["p1"]["unit"] == "anna"


def test_a_damaged_image_may_have_been_the_positive_one(tmp_path):
    bags = [*BAGS, Bag("p3", 1, [0.2, 0.1, NAN], [0, 0, 1])]
    assert not [one for one in run(image_set(bags), tmp_path).findings if one.kind == "bag_contradiction"]


def test_slides_whose_tiles_have_no_labels_are_judged_by_bag(tmp_path):
    images = image_set(BAGS)
    bare = replace(images, table=images.table.drop_columns(["label"]))
    report = run(bare, tmp_path)
    assert set(report.metrics) == {
        "bags.auroc", "bags.accuracy", "bags.sensitivity", "bags.specificity", "bags.false_in_negative_bags"
    }  # fmt: skip
    page = (tmp_path / "run" / "report.html").read_text()
    assert "no labels of their own: only decisions on bags are judged" in page


def test_labels_of_bags_are_matched_by_name(tmp_path):
    swapped = by_brightness(class_names=("Tumour", "Healthy"))
    images = image_set(BAGS)
    bare = replace(images, table=images.table.drop_columns(["label"]))
    asked = {"check": "bags", "pooling": "max", "positive": "Tumour"}
    found = audit(swapped, bare, out=tmp_path / "run", checks=[asked], allow_rejected=True)
    # Its first class is likely where the image is dark: n1 and p2, and the dark images of all others.
    assert found.metrics["bags.sensitivity"].value == 1.0
    assert found.metrics["bags.specificity"].value == 0.0
    rows = {row["id"]: row for row in json.loads((tmp_path / "run" / "lists" / "bags.json").read_text())}
    assert (rows["p1"]["label"], rows["n1"]["label"]) == ("Tumour", "Healthy")


def test_a_limit_draws_whole_bags():
    images = image_set(BAGS)
    for seed in range(5):
        part = limited(images, 6, seed)
        sizes = {bag: part.column("bag_id").count(bag) for bag in set(part.column("bag_id"))}
        assert sizes == {bag.id: len(bag.probabilities) for bag in BAGS if bag.id in sizes}
        assert 4 < len(part) <= 6
    assert len({tuple(limited(images, 6, seed).ids) for seed in range(5)}) > 1
    assert limited(images, 6, 0).ids == limited(images, 6, 0).ids
    with pytest.raises(InputError, match=r"less than the smallest bag of slides of squares has \(2\)"):
        limited(images, 1, 0)
    unlabelled = replace(images, table=images.table.drop_columns(["bag_label"]))
    assert limited(unlabelled, 4, 3).ids == unlabelled.limit(4, 3).ids


def test_a_grid_is_drawn_where_only_rows_and_columns_are_known(tmp_path):
    images = image_set(BAGS, attributes=pa.array(PLACES, pa.string()))
    report = run(images, tmp_path)
    (panel,) = [panel for panel in report.panels if panel.heat]
    assert [one.title for one in panel.heat] == ["n2", "p2", "p1", "n1"]
    assert panel.heat[0].caption.startswith("false alarm: healthy, score 0.800 (positive from 0.5 on); 3 images")
    assert panel.heat[1].caption.startswith("missed: tumour")
    assert all(one.plain is None and (tmp_path / "run" / "blobs" / one.heat).is_file() for one in panel.heat)
    page = Page((tmp_path / "run" / "report.html").read_text())
    assert len(page.all("figure", "sheet")) == 4
    assert len([img for img in page.all("img") if any("sheet" in parent.classes for parent in img.parents)]) == 4
    assert RunRecord.read(tmp_path / "run").report.panels == report.panels


def test_no_place_of_images_no_picture(tmp_path):
    assert not [panel for panel in run(image_set(BAGS), tmp_path).panels if panel.heat]


class Tiled(BrightTiles):
    """Squares in a column, with a picture of each bag but one."""

    def bag_thumbnail(self, bag_id, longest):
        """A grey strip."""
        if bag_id == "n1":
            raise InputError("there is none")
        return self.read(0).resize((10, 30))

    def tile_boxes(self, rows):
        """One below the other."""
        tops = np.asarray(rows) % 3 / 3
        return np.stack([0 * tops, tops, 0 * tops + 1, tops + 1 / 3], axis=1)


def test_pictures_come_from_the_tiled_source(tmp_path):
    report = run(image_set(BAGS, Tiled), tmp_path)
    (panel,) = [panel for panel in report.panels if panel.heat]
    assert {one.title: one.plain is None for one in panel.heat} == {"n2": False, "p2": False, "p1": False, "n1": True}


def test_slides_are_audited_end_to_end_and_again_to_the_same_bytes(tmp_path):
    world = Slides(count=4, tiles_across=6, tile_size=32, positive_rate=0.3, slides_per_patient=2)
    images = world.images(split="test")
    classifier = by_brightness()
    for name in ("first", "again"):
        audit(classifier, images, out=tmp_path / name, checks=["clean", {"check": "bags", "shown": 3}], batch_size=16)
    first, again = ((tmp_path / name / "report.json").read_bytes() for name in ("first", "again"))
    assert first == again
    record = json.loads(first)
    (panel,) = [panel for panel in record["panels"] if "heat" in panel]
    assert len(panel["heat"]) == 3
    assert all(one["plain"] for one in panel["heat"])
    assert record["metrics"]["bags.auroc"]["n"] == 4
    note = next(note for note in record["notes"] if note.startswith("Bags: the score"))
    assert "4 bags are of 2 independent units" in note
    assert images.class_names == NAMES
