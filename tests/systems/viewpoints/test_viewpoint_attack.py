"""The attack on the camera: what it returns, and that it is fresh views that are judged."""

import math

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import viewpoints_of
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.systems.viewpoints.mixture import ViewpointMixture, draw_unbounded
from tests.data.worlds.glowing_objects import GlowingObjects

QUICK = ViewpointAttack(components=2, popsize=11, iterations=10, samples=20, start_spread=0.3)


class Painted:
    """A renderer without gradients: red is the azimuth as a byte, green that of the object; blank to the far left."""

    objects = ("cup", "pot", "dust")

    def class_of(self, object_id):
        return object_id

    def render(self, object_id, viewpoints):
        level = ((viewpoints[:, 1] + 180) / 360 * 200).round() / 255
        images = torch.ones(len(viewpoints), 3, 8, 8)
        images[:, 0, 2:6, 2:6] = level.float()[:, None, None]
        images[:, 1, 2:6, 2:6] = 0.5 if object_id == "pot" else 0.0
        coverage = torch.zeros(len(viewpoints), 8, 8)
        if object_id != "dust":
            coverage[:, 2:6, 2:6] = 1.0
        return images, coverage


class Reads(nn.Module):
    """Class 0 while the object is seen from azimuths below 36 degrees; looks at red in the middle."""

    def forward(self, images):
        azimuth = images[:, 0, images.shape[2] // 2, images.shape[3] // 2] * 255 / 200 * 360 - 180
        return torch.stack([36 - azimuth, azimuth - 36, torch.full_like(azimuth, -400)], 1) / 20


def reader(normalization=None, size=8):
    preparation = Preprocessing(size=(size, size), resize="exact", resize_to=(size, size), interpolation="nearest")
    return Classifier(
        Reads(), class_names=["near", "far", "none"], preparation=preparation, normalization=normalization
    )


@pytest.fixture(scope="module")
def found():
    classifier = reader()
    with classifier.counting() as spent:
        attacked = QUICK.attack_views(classifier, Painted(), ["cup", "pot"], torch.tensor([0, 0]), rng=Randomness(3))
    return classifier, attacked, spent()


@pytest.mark.covers("11.1", "11.3")
def test_it_is_fresh_samples_of_the_mixture_that_are_judged(found):
    _, attacked, spent = found
    assert attacked.status == ("found", "found")
    azimuths = attacked.viewpoints[:, :, 1]
    # Success is what the classifier says of these very views, to a byte.
    assert torch.equal(attacked.success, (azimuths + 180) / 360 * 200 > 120.5)
    assert attacked.success_rate.tolist() == pytest.approx(attacked.success.double().mean(1).tolist())
    rng = Randomness(3).child("viewpoints").for_examples(["cup"]).child("fresh samples")
    mixture = ViewpointMixture(attacked.means[0], attacked.deviations[0], attacked.weights[0])
    assert torch.equal(attacked.viewpoints[0], viewpoints_of(draw_unbounded(mixture, 20, rng)))
    assert attacked.renders.tolist() == [10 * 12 + 20] * 2
    assert attacked.spent.counts() == spent.counts()
    assert torch.isfinite(attacked.entropy).all()


def test_what_is_found_for_an_object_does_not_depend_on_the_others(found):
    classifier, attacked, _ = found
    alone = QUICK.attack_views(classifier, Painted(), ["pot"], torch.tensor([0]), rng=Randomness(3))
    assert torch.equal(alone.viewpoints[0], attacked.viewpoints[1])
    assert torch.equal(alone.scores[0], attacked.scores[1])
    other = QUICK.attack_views(classifier, Painted(), ["pot"], torch.tensor([0]), rng=Randomness(4))
    assert not torch.equal(other.viewpoints, alone.viewpoints)


def test_evidence_has_a_row_for_each_view_and_its_unit_is_the_object(found):
    classifier, attacked, _ = found
    rows = attacked.evidence(classifier, torch.tensor([0, 0]), setting="viewpoints").table.to_pylist()
    assert len(rows) == 40
    assert (rows[21]["example_id"], rows[21]["unit_id"], rows[21]["status"]) == ("pot/0001", "pot", "ok")
    wrong = [row["prediction"] != 0 for row in rows]
    assert wrong == attacked.success.flatten().tolist()


def test_a_target_is_sought():
    attacked = QUICK.attack_views(
        reader(), Painted(), ["cup"], torch.tensor([1]), criterion=Targeted(), rng=Randomness(0)
    )
    assert attacked.status == ("found",)
    assert float(attacked.viewpoints[0, :, 1].mean()) > 36
    never = QUICK.attack_views(reader(), Painted(), ["cup"], torch.tensor([2]), criterion=Targeted(), rng=Randomness(0))
    assert (never.status, float(never.success_rate)) == (("not found",), 0.0)


@pytest.mark.covers("11.10")
def test_views_take_the_classifiers_own_preparation_and_normalisation():
    seen = []

    class Seen(Reads):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    mean = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    preparation = Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16), interpolation="nearest")
    classifier = Classifier(Seen(), class_names=["near", "far", "none"], preparation=preparation, normalization=mean)
    attack = ViewpointAttack(components=1, popsize=3, iterations=1, samples=2)
    attack.attack_views(classifier, Painted(), ["cup"], torch.tensor([0]))
    assert {tuple(images.shape[1:]) for images in seen} == {(3, 16, 16)}
    # White is 1, and becomes (1 − 0.5) / 0.25.
    assert {float(images.amax()) for images in seen} == {2.0}


@pytest.mark.covers("11.13")
def test_objects_that_are_not_seen_and_scores_that_are_not_finite_have_results_of_their_own():
    class Lost(Reads):
        def forward(self, images):
            return super().forward(images) * math.inf

    blank = QUICK.attack_views(reader(), Painted(), ["dust"], torch.tensor([0]))
    assert (blank.status, blank.spent.queries) == (("blank",), 0)
    assert math.isnan(float(blank.success_rate))

    class Flat(Painted):
        """An object as white as what lies behind it: it covers the picture, and nothing is to be seen."""

        def render(self, object_id, viewpoints):
            return torch.ones(len(viewpoints), 3, 8, 8), torch.ones(len(viewpoints), 8, 8)

    white = QUICK.attack_views(reader(), Flat(), ["cup"], torch.tensor([0]))
    assert (white.status, white.spent.queries) == (("blank",), 0)
    rows = blank.evidence(reader(), torch.tensor([0]), setting="v").table.to_pylist()
    assert {(row["status"], row["reason"], row["prediction"]) for row in rows} == {
        ("rejected", "the object is not seen", None)
    }
    classifier = Classifier(Lost(), class_names=["near", "far", "none"], preparation=Preprocessing(size=(8, 8)))
    lost = QUICK.attack_views(classifier, Painted(), ["cup"], torch.tensor([0]))
    assert lost.status == ("not finite",)
    assert {row["status"] for row in lost.evidence(classifier, torch.tensor([0]), setting="v").table.to_pylist()} == {
        "failed"
    }


@pytest.mark.covers("11.13")
@pytest.mark.parametrize(
    ("objects", "labels", "told"),
    [
        ([], [], "at least one object"),
        (["cap"], [0], "did you mean 'cup'"),
        (["cup", "cup"], [0, 0], "came twice"),
        (["cup"], [3], "0 to 2"),
        (["cup"], [0, 1], "as many classes"),
    ],
)
def test_wrong_objects_and_labels_are_refused(objects, labels, told):
    with pytest.raises(InputError, match=told):
        QUICK.attack_views(reader(), Painted(), objects, torch.tensor(labels, dtype=torch.int64))


def test_an_object_that_cannot_be_looked_at_is_an_error_with_its_name():
    with pytest.raises(RejectedImageError, match="damaged-e: its file is damaged"):
        QUICK.attack_views(reader(), GlowingObjects(("damaged-e",)), ["damaged-e"], torch.tensor([0]))


def test_a_renderer_that_gives_something_else_is_refused():
    class Broken(Painted):
        def render(self, object_id, viewpoints):
            images, coverage = super().render(object_id, viewpoints)
            return images * self.factor, coverage[: self.rows]

    for factor, rows, told in ((math.nan, None, "not finite"), (1.0, 2, "a renderer gives")):
        broken = Broken()
        broken.factor, broken.rows = factor, rows
        with pytest.raises(InputError, match=told):
            QUICK.attack_views(reader(), broken, ["cup"], torch.tensor([0]))
