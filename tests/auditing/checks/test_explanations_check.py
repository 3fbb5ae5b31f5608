"""The check ``explanations``: the surest mistakes, with the evidence where the model looked; pictures or nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks import explanations
from snellen.auditing.checks.explanations import Explanations, coloured
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.data.files.arrays import load_arrays
from snellen.methods.explanations.overlay import SCALE

SIDE = 16


class Corner(nn.Module):
    """Looks at the top left corner alone: bright means "light"."""

    def forward(self, images):
        value = 12 * (images[:, :, :4, :4].flatten(1).mean(1) - 0.5)
        return torch.stack([-value, value], 1)


def classifier(**options):
    return Classifier(
        Corner(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="corner", **options
    )


def pictures(count=20):
    """Grey pictures; in the last five the corner is bright and brighter, and the label says dark."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(40, 90, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for place, level in enumerate((150, 170, 190, 210, 230)):
        pixels[count - 5 + place, :4, :4] = level
    return load_arrays(pixels, [0] * count, class_names=["dark", "light"])


def panels(report):
    return [panel for panel in report.panels if panel.check == "explanations"]


def test_the_surest_mistakes_come_with_the_evidence_for_what_was_decided(tmp_path, monkeypatch):
    maps = []
    drawn = explanations.coloured

    def watching(image, evidence):
        maps.append(evidence)
        return drawn(image, evidence)

    monkeypatch.setattr(explanations, "coloured", watching)
    report = audit(
        classifier(), pictures(), checks=["clean", {"check": "explanations", "examples": 3}], out=tmp_path / "run"
    )
    (panel,) = panels(report)
    assert [one.title for one in panel.heat] == [pictures().ids[row] for row in (19, 18, 17)]
    assert [one.caption.partition(",")[0] for one in panel.heat] == ["dark → light"] * 3
    assert "sure" in panel.heat[0].caption
    for evidence in maps:
        assert evidence.shape == (SIDE, SIDE)
        assert float(evidence.max()) == 1.0
        assert float(evidence[:4, :4].sum() / evidence.sum()) > 0.6
    assert len({one.plain for one in panel.heat} | {one.heat for one in panel.heat}) == 6
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Why the worst mistakes were made" in page
    assert page.count("data:image/webp") >= 6


def test_nothing_wrong_and_nothing_that_may_be_kept_is_no_panel(tmp_path):
    right = pictures().select(list(range(10)))
    assert panels(audit(classifier(), right, checks=["clean", "explanations"])) == []
    assert panels(audit(classifier(), right.unlabelled(), checks=["clean", "explanations"])) == []
    asked = []
    silent = classifier()
    silent.module.register_forward_hook(lambda *_: asked.append(1))
    report = audit(silent, pictures(), checks=["clean", "explanations"], out=tmp_path / "run", save_images=False)
    assert panels(report) == []
    assert len(asked) == 1, "and what may not be shown is not asked"
    assert "data:image" not in (tmp_path / "run" / "report.html").read_text()
    labels = classifier(output="labels")
    (status,) = [
        one for one in audit(labels, right, checks=["clean", "explanations"]).checks if one.name == "explanations"
    ]
    assert "needs scores" in status.reason


def test_where_nothing_speaks_for_the_class_there_is_no_picture():
    class Stuck(nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2) + 0 * images.sum()

    stuck = Classifier(
        Stuck(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="stuck"
    )
    assert panels(audit(stuck, pictures(), checks=["clean", "explanations"])) == []


def test_a_picture_that_became_unreadable_is_left_out(monkeypatch):
    from snellen.core.errors import RejectedImageError

    images = pictures()
    concluding = Explanations.conclude

    def conclude(self, reading):
        source, read = type(images.source), type(images.source).read

        def fails(self, index):
            if index == 19:
                raise RejectedImageError("gone")
            return read(self, index)

        with monkeypatch.context() as patched:
            patched.setattr(source, "read", fails)
            return concluding(self, reading)

    monkeypatch.setattr(Explanations, "conclude", conclude)
    (panel,) = panels(audit(classifier(), images, checks=["clean", "explanations"]))
    assert [one.title for one in panel.heat] == [images.ids[row] for row in (18, 17, 16, 15)]


def test_what_it_costs_is_known_to_a_budget():
    asked = []
    few = pictures()

    class Counting(Corner):
        def forward(self, images):
            asked.append(len(images))
            return super().forward(images)

    model = Classifier(
        Counting(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="counting"
    )
    counted = []
    for checks in (["clean"], ["clean", {"check": "explanations", "examples": 2, "evaluations": 50}]):
        asked.clear()
        audit(model, few, checks=checks)
        counted.append(sum(asked))
    spent = counted[1] - counted[0]
    told = Explanations(examples=2, evaluations=50).cost() * explanations.SHARED_BY
    assert told * 0.5 < spent <= told * 2
    assert Explanations(examples=0).cost() == 0


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_colours_are_those_of_the_scale_and_leave_the_image_seen(level):
    image = torch.full((3, 2, 2), level)
    evidence = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    picture = np.asarray(coloured(image, evidence), dtype=float)
    assert np.allclose(picture[0, 0], SCALE[-1], atol=1)
    grey = float(np.asarray(to_image(image))[0, 0, 0])
    expected = explanations.FAINT * SCALE[0] + (1 - explanations.FAINT) * grey
    assert np.allclose(picture[0, 1], expected, atol=1)
