"""Images that show a second class: told in pairs of objects, not told where there is one object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.auditing.checks import default_checks, resolve_checks
from snellen.auditing.checks.multi_label import MultiLabel
from snellen.auditing.report import AuditReport
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.metrics.inspection.shown_classes import apart, shown_classes, windows
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier

NAMES = ("red", "green", "blue")
SIDE = 16


class Colours(torch.nn.Module):
    """Scores are the mean amounts of each colour above grey: a background alone is about 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 20 * (images - images.mean(1, keepdim=True)).clamp(min=0.1).mean((2, 3))


def classifier() -> Classifier:
    return Classifier(Colours(), class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="colours")


def pictures(count: int, pairs: float, seed: int = 0) -> ImageSet:
    """Coloured squares on a grey, noisy ground; a share of the images has two of different colours, far apart."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 150, (count, SIDE, SIDE, 1)).repeat(3, 3) + rng.integers(-15, 15, (count, SIDE, SIDE, 3))
    labels = rng.integers(0, 3, count)
    for row in range(count):
        corners = rng.permutation([(0, 0), (0, 10), (10, 0), (10, 10)])
        second = (labels[row] + rng.integers(1, 3)) % 3
        edge = int(rng.integers(4, 7))
        for place, colour in enumerate([labels[row], second] if rng.random() < pairs else [labels[row]]):
            top, left = corners[place]
            pixels[row, top : top + edge + place, left : left + edge + place] = 40
            pixels[row, top : top + edge + place, left : left + edge + place, colour] = 230
    return load_arrays(pixels.clip(0, 255).astype(np.uint8), labels, class_names=NAMES, name="squares")


def reported(images: ImageSet, out: Path, model: Classifier | None = None) -> AuditReport:
    return audit(model or classifier(), images, checks=["multi_label"], out=out)


def finding(report: AuditReport):
    return next((one for one in report.findings if one.kind == "multi_label"), None)


def test_tells_pairs_and_the_mistakes_that_name_them(tmp_path: Path) -> None:
    report = reported(pictures(150, pairs=0.4), tmp_path / "run")
    found = finding(report)
    assert found is not None
    assert 0.15 < found.facts["several"] / found.facts["images"] < 0.45
    # In pairs the second square is larger, so it is what the classifier says; half of all squares are seen typically.
    assert found.facts["mistakes_that_name_the_second"] >= 0.35 * found.facts["mistakes"] > 0
    assert 0 < found.harm < report.metrics["multi_label.conflicts"].value
    assert found.treatments[0].endswith("snellen train label-maps")
    assert found.examples[0].caption.startswith("labelled ")
    assert (tmp_path / "run" / "lists" / "multi_label.json").is_file()


@pytest.mark.parametrize("seed", range(3))
def test_says_nothing_of_single_objects(tmp_path: Path, seed: int) -> None:
    report = reported(pictures(150, pairs=0.0, seed=seed), tmp_path / "run")
    assert finding(report) is None
    assert report.metrics["multi_label.share"].value <= 0.02


def test_says_nothing_of_real_thumbnails_of_one_product(tmp_path: Path) -> None:
    images = load_images("bundled:fashion-mnist").limit(200)
    report = reported(images, tmp_path / "run", load_classifier("bundled:fashion-cnn"))
    assert finding(report) is None


def coloured_scenes(objects: int) -> Scenes:
    """Scenes called by the colour of their first object; one alone is no larger than one of several."""
    return Scenes(
        count=150, label="colour", objects=(objects, objects), sizes=("tiny", "small"), captions=False, seed=objects
    )


def test_tells_scenes_of_two_objects_by_what_is_really_there(tmp_path: Path) -> None:
    world = coloured_scenes(2)
    images = world.images(split="test")
    report = reported(images, tmp_path / "run", load_judge().classifier("colour"))
    assert finding(report) is not None
    there = {
        one: {each.colour for each in scene.objects} for one, scene in zip(images.ids, world.scenes(), strict=True)
    }
    listed = json.loads((tmp_path / "run" / "lists" / "multi_label.json").read_text())
    assert len(listed) >= 10
    assert all(there[one["id"]] == {one["label"], one["also"]} for one in listed)


def test_says_nothing_of_scenes_of_one_object(tmp_path: Path) -> None:
    report = reported(coloured_scenes(1).images(split="test"), tmp_path / "run", load_judge().classifier("colour"))
    assert finding(report) is None
    assert report.metrics["multi_label.share"].value <= 0.01


def test_it_runs_when_requested_alone() -> None:
    assert "multi_label" not in default_checks()
    assert "multi_label" not in [check.name for check in resolve_checks(None)]
    assert resolve_checks(["multi_label"])[1] == MultiLabel()
    assert MultiLabel(per_side=2).cost() == 4


def test_windows_that_overlap_do_not_count() -> None:
    boxes = windows(3)
    assert apart(boxes)[0].tolist() == [False, False, True, False, False, True, True, True, True]
    labels = np.array([0] * 8 + [1] * 8 + [0, 0])
    winners = np.tile(labels[:, None], (1, 9))
    strengths = np.full((18, 9), 5.0)
    winners[16:, 1:] = 1
    strengths[16:] = 0.0
    strengths[16:, 0] = 5.0
    strengths[16, 1] = 9.0  # beside the label's window, and over half of it
    strengths[17, 2] = 9.0  # apart from it
    assert shown_classes(winners, strengths, labels, boxes).second[16:].tolist() == [-1, 1]
    few = shown_classes(winners[7:], strengths[7:], labels[7:], boxes)
    assert not few.judged[[0, -1]].any()
    assert few.judged[1]
