"""The check ``attributes``: what depends on size, place or direction is found, and what editing costs is not."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks import build_check
from snellen.auditing.compare.compare import compare
from snellen.checks.check import Batch
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import removed
from snellen.models.segmenters import object_masks
from snellen.models.segmenters.protocol import Segmented
from snellen.systems.attribute_editing.check import Attributes
from snellen.systems.attribute_editing.edited_batch import EditedBatch

SIDE = 24
#: The object: 64 pixels of 576, bright red in class "light", dark red in class "dark".
PART = (slice(8, 16), slice(8, 16))
EDITS = ("full_size", "size_10", "size_8", "size_5", "random_position", "random_direction")


class Pictures:
    """Squares with a blue outline, as a shadow has, on grey ground; of some the mask is none that can be edited."""

    def __init__(self, labels, masks):
        self.labels, self.masks = labels, masks

    def read(self, index):
        pixels = np.full((SIDE, SIDE, 3), 0.1)
        pixels[7:17, 7:17] = (0.1, 0.1, 0.5)
        pixels[PART] = (0.9 if self.labels[index] else 0.4, 0.1, 0.1)
        return Image.fromarray((255 * pixels).round().astype(np.uint8))

    def read_mask(self, index, path):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        kind = self.masks.get(index, "object")
        if kind == "bar":
            mask[4:20] = 255
        elif kind == "frame":
            mask[1:-1, 1:-1] = 255
        elif kind == "wrong size":
            return Image.new("L", (5, 9))
        elif kind == "object":
            mask[PART] = 255
        return Image.fromarray(mask)

    def content_hash(self, index):
        return f"{self.labels[index]} {index} {self.masks.get(index)}"


def pictures(count=40, masks=None, units=False, column=True):
    """Two classes in turn."""
    labels = [row % 2 for row in range(count)]
    columns = {"id": [f"{row:03d}" for row in range(count)], "label": labels}
    if column:
        columns["mask"] = ["there"] * count
    if units:
        columns["unit_id"] = [f"{row % 8}" for row in range(count)]
    return ImageSet(Pictures(labels, masks or {}), pa.table(columns), ("dark", "light"), name="pictures")


class Reader(nn.Module):
    """Says "light" by what it trusts: the brightest red, how much is red, red in the middle, or the outline as well."""

    def __init__(self, trusts):
        super().__init__()
        self.trusts = trusts

    def forward(self, images):
        red = images[:, 0]
        value = {
            "object": lambda: red.flatten(1).amax(1) - 0.65,
            "size": lambda: ((red > 0.65).flatten(1).sum(1) - 40) / 100,
            "place": lambda: red[:, 10:14, 10:14].flatten(1).mean(1) - 0.65,
            "outline": lambda: torch.minimum(red.flatten(1).amax(1) - 0.65, images[:, 2].flatten(1).amax(1) - 0.3),
        }[self.trusts]()
        return torch.stack([-value, value], 1) * 20


def reader(trusts, **fields):
    return Classifier(
        Reader(trusts),
        class_names=["dark", "light"],
        preparation=Preprocessing(size=(SIDE, SIDE)),
        name=trusts,
        **fields,
    )


def requested(trusts, images=None, out=None, **fields):
    checks = ["clean", {"check": "attributes", "share": 1.0, **fields}]
    return audit(reader(trusts), images or pictures(), checks=checks, out=out)


def subjects(report):
    return [one.subject for one in report.findings if one.kind == "attribute"]


def test_a_decision_that_rests_on_the_object_alone_is_no_finding():
    report = requested("object", pictures(16))
    accuracies = {f"attributes.{kind}.5.accuracy": 1.0 for kind in ("inver", *EDITS)}
    lost = {f"attributes.{name}.lost": 0.0 for name in ("size", "position", "direction")}
    found = {name: one.value for name, one in report.metrics.items() if name.startswith("attributes.")}
    assert found == accuracies | lost
    assert subjects(report) == []


def test_what_is_lost_is_counted_by_attribute_and_reported_with_pictures(tmp_path):
    """Of the four sizes only the smallest has fewer than 40 pixels, and half of the images lose by that."""
    report = requested("size", out=tmp_path / "run")
    assert subjects(report) == ["size"]
    found = next(one for one in report.findings if one.kind == "attribute")
    lost = report.metrics["attributes.size.lost"]
    assert lost.value == pytest.approx(1 / 4 * 1 / 2)
    assert 0.01 < found.harm < lost.value, "a bound of it"
    assert lost.low < lost.value < lost.high
    assert found.facts["worst_edit"] == "size_5"
    assert found.facts["worst_accuracy"] == found.facts["drop_size_5"] == 0.5
    assert found.facts["drop_size_8"] == found.facts["drop_full_size"] == 0.0
    assert report.metrics["attributes.size_5.5.accuracy"].value == 0.5
    assert report.metrics["attributes.direction.lost"].value == 0.0
    rows = json.loads((tmp_path / "run" / "lists" / "attributes.json").read_text())
    assert len(rows) == 40
    assert {(row["worst"], *row["lost_by"]) for row in rows if int(row["id"]) % 2} == {("size", "size")}
    assert {tuple(row["lost_by"]) for row in rows if not int(row["id"]) % 2} == {()}
    shown = [one for one in found.examples if one.after is not None]
    assert len(shown) == 5
    assert len({one.image for one in shown} | {one.after for one in shown}) == 2, "all images of a class are alike"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "evidence/attributes.parquet, all settings" in re.sub("<[^>]*>", "", page)
    table, worst = (panel.rows for panel in report.panels if panel.check == "attributes")
    assert [row[0] for row in table] == ["inver", *(kind.replace("_", " ") for kind in EDITS)]
    assert table[4][1:3] == (0.5, 0.5)
    assert worst == (("size", 20, 20, 20), ("position", 0, 0, 0), ("direction", 0, 0, 0))
    assert (tmp_path / "run" / "evidence" / "attributes.parquet").exists(), "measured batch by batch, so resumable"


def test_a_place_is_found_too_and_units_are_what_counts():
    kinds = ["random_position", "random_direction"]
    whole, clustered = requested("place", kinds=kinds), requested("place", pictures(units=True), kinds=kinds)
    assert subjects(whole) == ["position"]
    (found,) = [one for one in whole.findings if one.kind == "attribute"]
    assert found.treatments[0].startswith("snellen treat . --finding attribute:position ")
    one, few = (report.metrics["attributes.position.lost"] for report in (whole, clustered))
    assert few.value == one.value > 0.2
    assert few.high - few.low > 1.5 * (one.high - one.low)


@pytest.mark.covers("27.2")
def test_what_editing_itself_costs_is_no_harm():
    """A model that wants to see the outline loses all light images under every edit, and under the control as well."""
    report = requested("outline", kinds=["size_5"])
    assert report.metrics["clean.accuracy"].value == 1.0
    assert report.metrics["attributes.inver.5.accuracy"].value == 0.5
    assert report.metrics["attributes.size_5.5.accuracy"].value == 0.5
    assert report.metrics["attributes.size.lost"].value == 0.0
    assert subjects(report) == []
    table = next(panel.rows for panel in report.panels if panel.check == "attributes")
    assert {row[2] for row in table} == {0.5}, "the drop of the unedited accuracy is told beside it"


@pytest.mark.covers("27.7")
def test_an_image_that_one_edit_cannot_be_made_of_counts_in_none(tmp_path):
    """A bar from side to side cannot be turned, but it could be moved and made smaller."""
    masks = {0: "bar", 1: "frame", 2: "empty", 3: "wrong size"}
    kinds = ["random_position", "random_direction"]
    out = tmp_path / "run"
    report = requested("place", pictures(masks=masks), out, kinds=kinds)
    counted = {one.n for name, one in report.metrics.items() if name.startswith("attributes.")}
    assert counted == {36}
    assert any("4 of the drawn images count in no figure" in note for note in report.notes)
    table = pq.read_table(
        out / "evidence" / "attributes.parquet", columns=["example_id", "status", "reason"]
    ).to_pylist()
    told = {row["example_id"]: row["reason"] for row in table if row["status"] in ("skipped", "invalid")}
    assert set(told) == {"000", "001", "002", "003"}
    assert "no background is left" in told["001"]
    assert "5×9 pixels, and the image 24×24" in told["003"]
    nothing = requested("place", pictures(4, masks=masks), kinds=kinds)
    assert not any(name.startswith("attributes.") for name in nothing.metrics)
    assert subjects(nothing) == []


def test_batches_shares_and_seeds():
    checks = ["clean", {"check": "attributes", "share": 0.5, "kinds": ["random_position"]}]
    reports = [audit(reader("place"), pictures(60), checks=checks, batch_size=size) for size in (7, 64)]
    assert reports[0].metrics == reports[1].metrics
    assert 15 < reports[0].metrics["attributes.position.lost"].n < 45


def test_severities_make_columns_of_the_eye_chart_and_0_is_none():
    report = requested("place", pictures(30), kinds=["random_position"], severities=[5, 1])
    columns = {one.name: one for one in report.eye_chart.columns if one.check == "attributes"}
    assert [cell.severity for cell in columns["random_position"].cells] == [1.0, 5.0]
    near, far = (report.metrics[f"attributes.random_position.{at}.accuracy"].value for at in (1, 5))
    assert near > far
    assert columns["random_position"].acuity is not None
    alone = requested("place", pictures(30), kinds=["random_position"])
    (column,) = [one for one in alone.eye_chart.columns if one.check == "attributes"]
    assert column.acuity is None, "between an edit and none nothing was measured"
    with pytest.raises(InputError, match="expected more than 0"):
        build_check("attributes", {"severities": [0]})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kinds": ["inver"]}, "always measured"),
        ({"kinds": ["random_background"]}, "check background"),
        ({"kinds": ["adversarial_background"], "generator": "bundled:scene-diffusion"}, "gradients of a model"),
        ({"kinds": ["plain_background"]}, "attributes.generator="),
        ({"kinds": ["size_5", "size_5"]}, "each only once"),
        ({"kinds": ["size_7"]}, "size_8"),
    ],
)
def test_edits_that_the_check_does_not_make_are_refused_with_the_reason(fields, reason):
    with pytest.raises(InputError, match=reason):
        build_check("attributes", fields)


def test_with_a_generator_backgrounds_are_made_plainer_and_busier_too():
    assert Attributes().chosen == EDITS
    painted = Attributes(generator="bundled:scene-diffusion", made=5)
    assert painted.chosen == ("plain_background", "complex_background", *EDITS)
    assert painted.editing("complex_background").generator == "bundled:scene-diffusion"
    assert painted.cost() > 3 * Attributes().cost() > 0


def test_painted_backgrounds_are_measured_beside_the_control():
    fields = {"generator": "bundled:scene-diffusion", "steps": 8, "made": 2, "kinds": ["plain_background"]}
    report = requested("object", pictures(4), **fields)
    assert report.metrics["attributes.background.lost"].n == 4
    assert report.metrics["attributes.inver.5.accuracy"].value == 1.0, "objects keep their pixels"
    assert {one.status for one in report.checks} == {"done"}


def test_a_ring_around_an_object_goes_with_it_as_wide_as_stated():
    images = pictures(2)
    classifier = reader("object")
    pixels = torch.stack([classifier.prepare(images.read(row)) for row in range(2)])
    ids = tuple(images.ids)
    batch = Batch(
        classifier,
        ids,
        (None, None),
        pixels,
        torch.tensor([0, 1]),
        classifier(pixels),
        Randomness(0).for_examples(ids),
        originals=images,
    )
    check = Attributes(fill="telea", parts="all")
    editing = check.editing("inver")
    assert (editing.fill, editing.parts) == ("telea", "all")
    for ring, pixels_wide in ((0.0, 1), (0.05, 1), (0.25, 6)):
        found = EditedBatch.of(batch, editing, None, ring)
        assert torch.equal(found.backgrounds, removed(batch.images, found.masks, "telea", ring=pixels_wide))
    whole = EditedBatch.of(batch, editing, None, 0.5)
    assert whole.part is None
    assert [key for key, _ in whole.refused] == list(ids)


def test_without_masks_it_is_skipped_with_the_way_to_run_it():
    report = audit(reader("object"), pictures(10, column=False), checks=["clean", Attributes()])
    (status,) = [one for one in report.checks if one.name == "attributes"]
    assert status.status == "skipped"
    assert "has no masks (column mask)" in status.reason
    assert "--set attributes.segmenter=" in status.reason


@pytest.mark.parametrize("field", ["segmenter", "generator"])
def test_what_cannot_be_loaded_is_reported_before_anything_is_measured(tmp_path, field):
    with pytest.raises(InputError, match="none-there"):
        requested("object", pictures(4), tmp_path / "run", **{field: f"bundled:none-there-{field}"})
    assert not (tmp_path / "run").exists()


def test_a_segmenter_takes_the_place_of_masks(monkeypatch):
    class Squares:
        name, prompts = "squares", frozenset({"points"})

        def segment(self, images, *, points=None):
            assert points.tolist() == [[[SIDE // 2, SIDE // 2]]]
            found = torch.zeros(1, 1, SIDE, SIDE)
            found[:, :, PART[0], PART[1]] = 1
            return Segmented(candidates=found, predicted=torch.ones(1, 1), chosen=torch.zeros(1).long(), rule="one")

    monkeypatch.setattr(object_masks, "_loaded", lambda reference, device: Squares())
    kinds = ["random_position", "random_direction"]
    bare = requested("place", pictures(20, column=False), segmenter="hf:folder", kinds=kinds)
    masked = requested("place", pictures(20), kinds=kinds)
    assert bare.metrics == masked.metrics


def test_labels_alone_are_enough_and_two_runs_are_compared(tmp_path):
    said = reader("size", output="labels")
    checks = ["clean", {"check": "attributes", "share": 1.0, "kinds": ["size_5"]}]
    before = audit(said, pictures(), checks=checks, out=tmp_path / "before")
    assert subjects(before) == ["size"]
    audit(reader("object"), pictures(), checks=checks, out=tmp_path / "after")
    compared = compare(tmp_path / "before", tmp_path / "after")
    told = {one.key: one.verdict for one in compared.findings}
    assert told["attribute:size"] in ("mended", "better")
    figures = {one.name: one for one in compared.figures}
    assert figures["attributes.size_5.5.accuracy"].difference == pytest.approx(0.5), "paired by image"
    assert figures["attributes.size_5.5.accuracy"].verdict == figures["attributes.size.lost"].verdict == "better"


def test_a_requirement_on_what_is_lost_is_checked_by_name():
    check = Attributes(kinds=("size_5", "random_position"))
    known = {"inver.5.accuracy", "size_5.5.accuracy", "random_position.5.accuracy", "size.lost", "position.lost"}
    assert check.figure_names() == {f"attributes.{name}" for name in known}
