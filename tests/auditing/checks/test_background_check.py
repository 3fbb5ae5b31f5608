"""The check ``background``: models that look at the background are found, others are not, and nothing is guessed."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks.background import Background
from snellen.auditing.compare.compare import compare
from snellen.auditing.swapped_backgrounds import Lenders, evidence_outside
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import before_backgrounds, without_object
from snellen.models.segmenters.object_masks import ObjectMasks

SIDE = 16
#: The object: bright in class "light", dark in class "dark"; rows 5 to 10, columns 3 to 8.
PART = (slice(5, 11), slice(3, 9))
GREEN, BLUE = (0.1, 0.5, 0.1), (0.1, 0.1, 0.5)


class Pictures:
    """Objects before green and blue ground, with masks; every fifth mask of ``lost`` sets cannot be read."""

    def __init__(self, labels, blue, lost=False):
        self.labels, self.blue, self.lost = labels, blue, lost

    def read(self, index):
        rng = np.random.default_rng(index)
        pixels = np.broadcast_to(BLUE if self.blue[index] else GREEN, (SIDE, SIDE, 3)).copy()
        pixels[PART] = 0.9 if self.labels[index] else 0.3
        return Image.fromarray((255 * (pixels + rng.uniform(0, 0.08, pixels.shape))).round().astype(np.uint8))

    def read_mask(self, index, path):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        if not (self.lost and index % 5 == 0):
            mask[PART] = 255
        return Image.fromarray(mask)

    def content_hash(self, index):
        return f"{self.labels[index]} {self.blue[index]} {index} {self.lost}"


def pictures(count=160, masks=True, lost=False, units=False):
    """Labels and grounds that follow nothing; of one ``units`` all are alike."""
    rng = np.random.default_rng(0)
    labels, blue = rng.integers(0, 2, count), rng.integers(0, 2, count)
    columns = {"id": [f"{row:03d}" for row in range(count)], "label": labels.tolist()}
    if masks:
        columns["mask"] = ["there"] * count
    if units:
        columns["unit_id"] = [
            f"{label} {ground} {row % 2}" for row, (label, ground) in enumerate(zip(labels, blue, strict=True))
        ]
    table = pa.table(columns)
    return ImageSet(Pictures(labels.tolist(), blue.tolist(), lost), table, ("dark", "light"), name="pictures")


class Reader(nn.Module):
    """Looks at the object, and trusts the ground where there is enough blue or green: ``ground`` says how much."""

    def __init__(self, ground):
        super().__init__()
        self.ground = ground

    def forward(self, images):
        light = images[:, 0, PART[0], PART[1]].flatten(1).mean(1) - 0.6
        blue = (images[:, 2] - images[:, 1])[:, :4].flatten(1).mean(1)
        value = 20 * ((1 - self.ground) * light + self.ground * blue)
        return torch.stack([-value, value], 1)


def reader(ground):
    return Classifier(
        Reader(ground),
        class_names=["dark", "light"],
        preparation=Preprocessing(size=(SIDE, SIDE)),
        name=f"reader {ground}",
    )


def findings(report, *kinds):
    return [one for one in report.findings if one.kind in (kinds or ("background_shortcut", "background_sensitivity"))]


def queried(ground, images=None, **fields):
    fields = {"share": 1.0, "evaluations": 16, **fields}
    return audit(reader(ground), images or pictures(), checks=["clean", {"check": "background", **fields}])


def test_a_decision_that_rests_on_the_object_is_no_finding():
    report = queried(0.0)
    figures = {name: figure.value for name, figure in report.metrics.items()}
    assert figures["background.kept_own"] == figures["background.kept_other"] == 1.0
    assert figures["background.follows"] == 0.0
    assert figures["background.area_outside"] == pytest.approx(1 - 36 / 256)
    assert findings(report) == []


@pytest.mark.parametrize(("ground", "least", "most"), [(0.4, 0.03, 0.2), (1.0, 0.15, 0.25)])
def test_a_decision_that_rests_on_the_background_is_found_with_its_harm(ground, least, most, tmp_path):
    """A model that reads the ground alone is right in half of the images, and keeps half of these before another."""
    images = pictures()
    checks = ["clean", {"check": "background", "share": 1.0, "evaluations": 0}]
    report = audit(reader(ground), images, checks=checks, out=tmp_path / "run")
    (found,) = findings(report, "background_sensitivity")
    own, other = (report.metrics[f"background.kept_{whose}"] for whose in ("own", "other"))
    assert other.high < own.low
    assert found.p_value < 1e-3
    right = report.metrics["clean.accuracy"].value
    assert least < found.harm < (own.value - other.value) * right < most + 0.1, "a bound of what is lost of all images"
    assert f"{other.value:.0%} stay so before backgrounds of other classes, {own.value:.0%} before" in found.title
    assert found.facts["kept_other"] == other.value
    assert found.facts["images"] == 160
    assert own.n == round(right * 160), "those that are wrong as they are have nothing to lose"
    shortcuts = findings(report, "background_shortcut")
    follows, expected = report.metrics["background.follows"], report.metrics["background.follows_expected"]
    assert expected.value < follows.value <= 0.5
    followed = report.metrics["background.followed"]
    assert followed.value == pytest.approx((follows.value - expected.value) * right, abs=0.002)
    assert len(shortcuts) == (ground == 1.0), (
        "who trusts the object as well follows too little to be told in 160 images"
    )
    for shortcut in shortcuts:
        assert 0 < shortcut.harm < followed.value
        assert shortcut.p_value < 1e-3
        assert all(f" to {name} (" in shortcut.facts["backgrounds"] for name in ("light", "dark"))
    lost = report.metrics["background.lost"]
    assert lost.value == pytest.approx((own.value - other.value) * right, abs=0.01)
    assert found.harm <= lost.value
    assert lost.low < lost.value < lost.high
    rows = json.loads((tmp_path / "run" / "lists" / "background.json").read_text())
    assert len(rows) == 160
    assert sum(row["right"] for row in rows) == own.n
    assert np.mean([row["kept_other"] for row in rows if row["right"]]) == pytest.approx(other.value)
    assert {row["evidence_outside"] for row in rows} == {None}
    shown = [one for one in found.examples if one.after is not None]
    assert len(shown) == 5
    assert len({one.image for one in shown} | {one.after for one in shown}) == 10
    assert all((tmp_path / "run" / "blobs").rglob(f"*{one.after}*") for one in shown)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "lists/background.json" in page


def test_no_image_is_put_before_its_own_background_as_anothers():
    """Of few images its own would be drawn for certain."""
    lenders = Lenders([torch.zeros(3, 4, 4)] * 3, [0, 0, 1], ["a", "b", "c"])
    others, same = lenders.drawn("a", 0, torch.Size((3, 4, 4)), 4, Randomness(0).for_examples(["a"]))
    assert (others, same) == ([2], [1])
    assert lenders.drawn("a", 0, torch.Size((3, 5, 5)), 4, Randomness(0).for_examples(["a"])) == ([], [])


def test_nothing_is_said_where_nothing_is_right():
    """Labels in another order: a ground that is followed costs no right decision, for there is none."""
    images = pictures()
    images.source.blue = [1 - label for label in images.source.labels]
    report = queried(1.0, images, evaluations=0)
    assert report.metrics["clean.accuracy"].value == 0.0
    assert findings(report) == []
    assert "background.follows" not in report.metrics


class Fragile(nn.Module):
    """Looks at the object; before green ground it sees nothing, and guesses by the object's noise."""

    def forward(self, images):
        light = 20 * (images[:, 0, PART[0], PART[1]].flatten(1).mean(1) - 0.6)
        noise = 1e4 * (images[:, 0, 5, 3] - images[:, 0, 5, 4])
        green = images[:, 1, :4].flatten(1).mean(1) > images[:, 2, :4].flatten(1).mean(1)
        value = torch.where(green, noise, light)
        return torch.stack([-value, value], 1)


def test_a_background_that_only_hurts_is_no_shortcut():
    fragile = Classifier(
        Fragile(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="fragile"
    )
    blue = pictures(300)
    blue.source.blue = [1 - int(row % 3 == 0) for row in range(300)]
    checks = ["clean", {"check": "background", "share": 1.0, "evaluations": 0}]
    report = audit(fragile, blue, checks=checks)
    assert report.metrics["background.kept_other"].value < 0.95
    assert findings(report, "background_shortcut") == []


def test_two_runs_are_compared_by_what_is_lost(tmp_path):
    checks = ["clean", {"check": "background", "share": 1.0, "evaluations": 0}]
    for name, ground in (("before", 1.0), ("after", 0.0)):
        audit(reader(ground), pictures(), checks=checks, out=tmp_path / name)
    compared = compare(tmp_path / "before", tmp_path / "after")
    told = {one.key: one for one in compared.findings}
    for kind in ("background_shortcut", "background_sensitivity"):
        assert told[kind].verdict in ("mended", "better")
        assert told[kind].high < 0
    figures = {one.name: one.verdict for one in compared.figures}
    assert figures["background.lost"] == figures["background.kept_other"] == "better"
    back = compare(tmp_path / "after", tmp_path / "before")
    assert next(one for one in back.findings if one.key == "background_shortcut").verdict in ("new", "worse")


def test_the_evidence_is_queried_where_it_lies():
    """Dark ground is nothing to the reader of objects, and everything to the other."""
    image = torch.full((3, SIDE, SIDE), 0.2)
    image[:, PART[0], PART[1]] = 0.9
    image[2, :4] = 0.25
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[PART] = True
    inside, outside = (evidence_outside(reader(ground), image, mask, 1, 400) for ground in (0.0, 1.0))
    assert inside < 0.5, "of an area of 0.86"
    assert outside > 0.9
    assert np.isnan(evidence_outside(reader(0.0), torch.full((3, SIDE, SIDE), 0.2), mask, 1, 50))


def test_units_and_seeds_and_shares():
    whole, again = queried(0.4, evaluations=0), queried(0.4, evaluations=0)
    assert whole.metrics == again.metrics
    part = queried(0.4, evaluations=0, share=0.3)
    assert 25 < part.metrics["background.follows"].n < 75
    clustered = queried(0.4, pictures(units=True), evaluations=0)
    few, many = (report.metrics["background.lost"] for report in (clustered, whole))
    assert few.value == pytest.approx(many.value, abs=0.06)
    assert few.high - few.low > 1.5 * (many.high - many.low), "images of one unit do not count as independent"


def test_a_batch_of_another_size_changes_nothing():
    checks = ["clean", {"check": "background", "share": 0.5, "evaluations": 0}]
    one, other = (audit(reader(0.4), pictures(60), checks=checks, batch_size=size).metrics for size in (7, 64))
    assert one == other


def test_without_masks_it_is_skipped_with_the_way_to_run_it():
    with pytest.raises(InputError, match=r"background was requested by name, and .*--set background\.segmenter="):
        audit(reader(0.0), pictures(20, masks=False), checks="+background")
    report = audit(reader(0.0), pictures(20, masks=False), checks=["clean", Background()])
    (status,) = [one for one in report.checks if one.name == "background"]
    assert status.status == "skipped"
    assert "has no masks (column mask)" in status.reason
    assert "--set background.segmenter=" in status.reason
    assert status.setting == "segmenter"
    assert Background(segmenter="grabcut").missing(reader(0.0), pictures(20, masks=False), frozenset()) is None


def test_masks_that_cannot_be_used_count_in_no_figure_and_are_reported():
    report = queried(0.0, pictures(60, lost=True), evaluations=0)
    assert report.metrics["background.follows"].n == 48
    assert any("12 of 60 drawn images count in no figure" in note for note in report.notes)
    alone = pictures(60)
    alone = alone.select([row for row in range(60) if alone.labels[row] == 1])
    told = queried(0.0, alone, evaluations=0)
    assert not any(name.startswith("background.") for name in told.metrics)
    assert any("no image of another class" in note for note in told.notes)


def test_without_images_no_composite_is_kept(tmp_path):
    checks = ["clean", {"check": "background", "share": 1.0, "evaluations": 0}]
    kept = {
        keep: audit(reader(1.0), pictures(80), checks=checks, out=tmp_path / str(keep), save_images=keep)
        for keep in (True, False)
    }
    assert kept[True].metrics == kept[False].metrics
    assert [one.after for one in findings(kept[False])[0].examples] == [None] * 5
    assert not list((tmp_path / "False" / "blobs").rglob("*")) if (tmp_path / "False" / "blobs").exists() else True
    assert "data:image" not in (tmp_path / "False" / "report.html").read_text()


def test_a_segmenter_takes_the_place_of_masks(monkeypatch):
    from snellen.models.segmenters import object_masks

    asked_for = []

    class Bright:
        name, prompts = "bright", frozenset({"points"})

        def segment(self, images, *, points=None):
            from snellen.models.segmenters.protocol import Segmented

            asked_for.append(points.tolist())
            near = torch.zeros(1, 1, SIDE, SIDE)
            near[:, :, PART[0], PART[1]] = 1
            return Segmented(candidates=near, predicted=torch.ones(1, 1), chosen=torch.zeros(1).long(), rule="one")

    monkeypatch.setattr(object_masks, "_loaded", lambda reference, device: Bright())
    report = queried(1.0, pictures(60, masks=False), segmenter="hf:folder", evaluations=0)
    assert {one.kind for one in findings(report)} == {"background_shortcut", "background_sensitivity"}
    assert asked_for[0] == [[[8, 8]]], "a segmenter that wants a point gets the middle"


def test_a_segmenter_that_cannot_be_used_is_reported_before_anything_is_measured(tmp_path, monkeypatch):
    from snellen.models.segmenters import object_masks

    checks = ["clean", {"check": "background", "segmenter": f"isnet:{tmp_path / 'none.onnx'}"}]
    with pytest.raises(InputError, match=r"none\.onnx"):
        audit(reader(0.0), pictures(20), checks=checks, out=tmp_path / "run")

    class Boxes:
        name, prompts = "boxed", frozenset({"boxes"})

    monkeypatch.setattr(object_masks, "_loaded", lambda reference, device: Boxes())
    with pytest.raises(InputError, match=r"boxed takes boxes.*isnet:FILE\.onnx"):
        audit(reader(0.0), pictures(20), checks=checks, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_masks_that_are_empty_or_whole_tell_nothing():
    images = pictures(40)
    read = type(images.source).read_mask

    class Odd(type(images.source)):
        def read_mask(self, index, path):
            if index < 10:
                return Image.new("L", (SIDE, SIDE), 255 * (index % 2))
            return read(self, index, path)

    images.source.__class__ = Odd
    report = queried(1.0, images, evaluations=0)
    assert report.metrics["background.lost"].n == 30
    assert any("10 of 40 drawn images count in no figure" in note for note in report.notes)


def test_labels_alone_are_enough():
    said = Classifier(
        Reader(1.0), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="said",
        output="labels",
    )  # fmt: skip
    report = audit(said, pictures(60), checks=["clean", {"check": "background", "share": 1.0, "evaluations": 16}])
    assert {one.kind for one in findings(report)} == {"background_shortcut", "background_sensitivity"}
    assert "background.evidence_outside" in report.metrics


def test_masks_go_through_the_resize_and_crop_of_the_model():
    preparation = Preprocessing(size=(8, 8), resize="shorter", resize_to=(12, 12))
    image, mask = ObjectMasks(pictures(4), preparation).read("001")
    assert image.shape == (3, 8, 8)
    # Rows 5 to 10 of 16 are 3.75 to 8.25 of 12, and 1.75 to 6.25 after 2 are cut off.
    assert mask.any(1).nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert mask.any(0).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


def test_what_is_padded_is_no_object_whatever_its_colour():
    preparation = Preprocessing(
        size=(SIDE, 2 * SIDE), resize="longer", resize_to=(SIDE, 2 * SIDE), fill=(255, 255, 255)
    )
    image, mask = ObjectMasks(pictures(4), preparation).read("001")
    assert (image[:, :, 0] == 1).all()
    assert mask.sum() == 36
    assert not mask[:, : SIDE // 2].any()


def test_a_background_is_filled_from_itself_and_stands_behind_the_object():
    image = torch.arange(3 * 8 * 8, dtype=torch.float32).view(3, 8, 8) / 192
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:6] = True
    filled = without_object(image, mask)
    assert torch.equal(filled[:, ~mask], image[:, ~mask])
    outside = {tuple(one) for one in image[:, ~mask].T.tolist()}
    assert all(tuple(one) in outside for one in filled[:, mask].T.tolist()), "nothing of the object, nothing made up"
    assert torch.equal(without_object(image, torch.ones(8, 8, dtype=torch.bool)), image)
    most = torch.ones(8, 8, dtype=torch.bool)
    most[0, 0] = False
    assert torch.equal(without_object(image, most), image[:, :1, :1].expand(3, 8, 8)), "the mean where nothing is left"
    other = torch.zeros(3, 8, 8)
    other[:, 0, 0] = 1
    (composite,) = before_backgrounds(image[None], mask[None], other[None], torch.tensor([[7, 2]]))
    assert torch.equal(composite[:, mask], image[:, mask])
    assert composite[:, ~mask].sum() == 3
    assert (composite[:, 7, 2] == 1).all()
