"""The check ``nuisance`` on scenes: drawn again with one nuisance more, counted by hand, and nothing guessed."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks import resolve_checks
from snellen.auditing.compare.compare import compare
from snellen.checks.per_image import ABSENT, RIGHT, WRONG, PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Nuisances, Scene, SceneObject
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.continuous_nuisance.check import NuisanceCheck
from snellen.systems.continuous_nuisance.nuisance_loss import loss_panels, nuisance_loss
from snellen.systems.continuous_nuisance.redrawn_scenes import (
    NOT_WHAT_IS_DRAWN,
    Redrawn,
    prepared,
    redrawable,
    worsened,
)
from snellen.systems.continuous_nuisance.strengths import beyond

STRENGTHS = (0.1, 0.3, 1.0)
#: Mean of the pixels above which the reader calls a scene bright: fog makes dim ones bright.
BRIGHT = 0.38


class Reader(nn.Module):
    def forward(self, images):
        bright = images.mean((1, 2, 3)) - BRIGHT
        return torch.stack([bright, -bright], 1) * 20


def reader(**changes):
    return Classifier(
        Reader(), class_names=["bright", "dim"], preparation=Preprocessing(size=(16, 16)), name="reader", **changes
    )


def pictures(count=60, **fields):
    world = Scenes(
        count=count,
        size=16,
        label="lighting",
        lightings=("bright", "dim"),
        backgrounds=("sand",),
        colours=("red", "blue"),
        **fields,
    )
    return world.images(split="test")


CHECKS = ["clean", {"check": "nuisance", "share": 1.0, "nuisances": ["fog", "blur"], "strengths": STRENGTHS}]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        audit(reader(), pictures(), checks=CHECKS, out=folder / name, batch_size=size)
        for name, size in (("first", 64), ("second", 7))
    ], folder


def by_hand(strength):
    """Whether each dim scene, of those that are right, is right in so much fog."""
    images = pictures()
    scenes = [Scene.from_json(text) for text in images.column("attributes")]
    fogged = [
        scene.model_copy(update={"nuisances": Nuisances(fog=strength)}) if strength else scene for scene in scenes
    ]
    means = render(fogged, 16).pixels.double().mean((1, 2, 3)) / 255
    bright = images.labels == images.class_names.index("bright")
    return (means.numpy() > BRIGHT) == bright


def test_accuracy_and_failure_points_are_those_of_the_scenes_drawn_by_hand(runs):
    (report, other), _ = runs
    clean, rights = by_hand(0), np.stack([by_hand(strength) for strength in STRENGTHS])
    for strength, right in zip(STRENGTHS, rights, strict=True):
        assert report.metrics[f"nuisance.fog.{strength:g}.accuracy"].value == pytest.approx(right.mean())
    assert report.metrics["nuisance.fog.lost"].value == pytest.approx(clean.mean() - rights.mean())
    first = [
        next((s for s, right in zip(STRENGTHS, rights[:, row], strict=True) if not right), 1.7)
        for row in np.flatnonzero(clean)
    ]
    assert {0.3, 1.0, 1.7} <= set(first), "some fail at one strength, some at another and some never"
    assert report.metrics["nuisance.fog.failure_point"].value == pytest.approx(np.mean(first))
    assert report.metrics["nuisance.fog.failure_point"].n == clean.sum()
    assert {name: one.value for name, one in report.metrics.items()} == pytest.approx(
        {name: one.value for name, one in other.metrics.items()}
    ), "batches must not matter"


def test_the_finding_says_how_strong_and_shows_the_scene_in_fog(runs):
    (report, _), folder = runs
    (finding,) = [one for one in report.findings if one.kind == "nuisance"]
    assert finding.subject == "fog"
    assert finding.facts["worst_strength"] == 1.0
    assert finding.facts["accuracy_without_it"] == pytest.approx(by_hand(0).mean())
    assert finding.treatments[0].startswith(f"snellen treat . --finding {finding.key} ")
    example = finding.examples[0]
    assert example.caption == "dim → bright"
    assert example.after is not None
    images = pictures()
    row = images.ids.index(example.example_id)
    scene = worsened(Scene.from_json(images.column("attributes")[row]), "fog", 1.0)
    stored = next(folder.glob(f"first/**/{example.after}*"))
    shown = np.asarray(Image.open(stored).convert("RGB"))
    assert np.array_equal(shown, render([scene], 16).pixels[0].permute(1, 2, 0).numpy())


def test_the_chart_and_the_panel_begin_without_any_nuisance(runs):
    (report, _), _ = runs
    assert {column.name for column in report.eye_chart.columns} == {"scene_fog", "scene_blur"}
    (panel,) = [one for one in report.panels if one.check == "nuisance"]
    assert [line.name for line in panel.lines] == ["fog", "blur"]
    assert [point.x for point in panel.lines[0].points] == [0.0, *STRENGTHS]
    assert panel.lines[0].points[0].y == pytest.approx(by_hand(0).mean())


def test_two_runs_are_compared(runs):
    _, folder = runs
    found = compare(folder / "first", folder / "second")
    (figure,) = [one for one in found.figures if one.name == "nuisance.fog.0.3.accuracy"]
    assert (figure.difference, figure.paired, figure.n) == (0, True, 60)
    (point,) = [one for one in found.figures if one.name == "nuisance.fog.failure_point"]
    assert point.verdict != "unknown"
    (told,) = [one for one in found.findings if one.key == "nuisance:fog"]
    assert told.difference == 0


def test_what_was_done_to_a_picture_since_is_not_taken_away_unnoticed():
    images = pictures(12)

    class Stamped:
        def read(self, index):
            picture = images.read(index)
            if index % 3 == 0:
                picture.putpixel((0, 0), (255, 0, 255))
            return picture

        def content_hash(self, index):
            return f"stamped {images.content_hash(index)}"

    stamped = replace(images, source=Stamped(), opened=None)
    report = audit(reader(), stamped, checks=["clean", {"check": "nuisance", "share": 1.0, "nuisances": ["fog"]}])
    assert report.metrics["nuisance.fog.1.accuracy"].n == 8
    assert f"Nuisance: 4 images count in no figure: {NOT_WHAT_IS_DRAWN}." in report.notes


def test_a_share_is_drawn_by_the_ids():
    report = audit(reader(), pictures(), checks=[{"check": "nuisance", "share": 0.3, "nuisances": ["fog"]}])
    assert 6 <= report.metrics["nuisance.fog.1.accuracy"].n <= 32
    none = audit(reader(), pictures(2), checks=[{"check": "nuisance", "share": 1e-9}])
    assert any("raise nuisance.share" in note for note in none.notes)


def test_scores_that_are_not_finite_in_fog_are_lost_decisions_and_no_failure():
    class Broken(Reader):
        def forward(self, images):
            return torch.where(images.mean((1, 2, 3))[:, None] > 0.7, torch.nan, super().forward(images))

    broken = Classifier(
        Broken(), class_names=["bright", "dim"], preparation=Preprocessing(size=(16, 16)), name="broken"
    )
    check = {"check": "nuisance", "share": 1.0, "nuisances": ["fog"], "strengths": [5]}
    report = audit(broken, pictures(20), checks=[check])
    assert report.metrics["nuisance.fog.5.accuracy"].value < 1
    assert any(note.startswith("Check nuisance: ") and "rows failed" in note for note in report.notes)


def test_without_records_of_scenes_it_is_skipped_with_the_reason():
    images = pictures(4)
    table = images.table.set_column(
        images.table.column_names.index("attributes"), "attributes", pa.array(['{"objects": 3}'] * 4)
    )
    for other in (replace(images, table=table), replace(images, table=images.table.drop_columns("attributes"))):
        (status,) = [one for one in audit(reader(), other, checks=[NuisanceCheck()]).checks if one.name == "nuisance"]
        assert status.status == "skipped"
        assert "no records of scenes" in status.reason
        assert "--set nuisance.generator=" in status.reason
        assert status.setting == "generator"


def test_parameters_that_make_no_sense_are_refused():
    for wrong in ({"strengths": [0]}, {"strengths": [1, 1]}, {"nuisances": ["sleet"]}, {"strengths": [6]}):
        with pytest.raises(InputError, match="nuisance"):
            resolve_checks([{"check": "nuisance", **wrong}])
    assert NuisanceCheck().cost() == pytest.approx(1.25 * 0.25 * 6 * 5)


# -- parts -------------------------------------------------------------------------------------------------------------


def test_a_scene_keeps_what_it_has_of_a_nuisance():
    scene = Scene(objects=(SceneObject(shape="star", colour="red"),), nuisances=Nuisances(fog=3.0, blur=1.0))
    assert worsened(scene, "fog", 2.0).nuisances == scene.nuisances
    assert worsened(scene, "fog", 4.0).nuisances == Nuisances(fog=4.0, blur=1.0)


def test_pictures_of_several_sides_are_drawn_as_they_are_alone():
    scenes = Scenes(count=5).scenes()
    mixed = [Redrawn(scene, side) for scene, side in zip(scenes, (16, 32, 16, 8, 32), strict=True)]
    to_16 = Preprocessing(resize="exact", resize_to=(16, 16), size=(16, 16))
    together = prepared(mixed, to_16)
    assert together.shape == (5, 3, 16, 16)
    for row, one in enumerate(mixed):
        drawn = render([one.scene], one.side).pixels[0].permute(1, 2, 0).numpy()
        assert torch.equal(together[row], to_16(Image.fromarray(drawn)))


def test_two_levels_are_the_same_picture_and_three_are_not():
    images = scene_images(Scenes(count=1, backgrounds=("night",)).scenes(), size=16)

    class Darker:
        def __init__(self, levels):
            self.levels = levels

        def read(self, index):
            pixels = np.asarray(images.read(index)).astype(int)
            return Image.fromarray(np.where(pixels > 9, pixels - self.levels, pixels).astype(np.uint8))

        def content_hash(self, index):
            return str(self.levels)

    assert isinstance(redrawable(replace(images, source=Darker(2)))[0], Redrawn)
    assert redrawable(replace(images, source=Darker(3))) == [NOT_WHAT_IS_DRAWN]


def test_the_first_failure_counts_even_if_the_image_is_right_again_and_in_any_order_of_strengths():
    known = PerImage(ids=tuple("abc"), labels=np.zeros(3, int), predictions=np.array([0, 0, 1]))
    outcomes = np.array([[RIGHT, RIGHT, WRONG], [WRONG, RIGHT, RIGHT], [RIGHT, RIGHT, WRONG]], dtype=np.int8)
    loss = nuisance_loss(known, outcomes, (3.0, 2.0, 1.0))
    assert loss.failure_point.value == pytest.approx((2 + beyond((1, 2, 3))) / 2), "the third is wrong without it"
    assert loss.failed == 0.5
    assert loss.row()[3] == 2.0
    assert [point.x for point in loss.line("x", (3.0, 2.0, 1.0)).points] == [0, 1, 2, 3]
    outcomes[1, 1] = ABSENT
    assert nuisance_loss(known, outcomes, (3.0, 2.0, 1.0)).lost.paired.tolist() == [True, False, True]
    outcomes[0] = ABSENT
    assert nuisance_loss(known, outcomes, (3.0, 2.0, 1.0)) is None


def test_a_chart_has_no_two_lines_that_look_alike():
    known = PerImage(ids=("a", "b"), labels=np.zeros(2, int), predictions=np.zeros(2, int))
    loss = nuisance_loss(known, np.array([[RIGHT, WRONG]], dtype=np.int8), (1.0,))
    for count, sizes in ((0, []), (1, [1]), (4, [4]), (6, [3, 3]), (14, [3, 4, 3, 4])):
        losses = {f"n{number}": loss for number in range(count)}
        panels = loss_panels(losses, (1.0,), check="nuisance", title="t", about="a")
        assert [len(panel.lines) for panel in panels] == sizes
        assert [row[0] for panel in panels for row in panel.rows] == list(losses)
        assert all(len(row) == len(panel.head) for panel in panels for row in panel.rows)
