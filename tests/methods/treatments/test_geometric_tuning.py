"""Objects at other places, of other sizes and turned: what was never seen is learnt, and nothing else is changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import SEVERITIES
from snellen.methods.treatments import geometric_tuning
from snellen.methods.treatments.geometric_tuning import NuisanceTuning, ObjectTuning, ViewTuning, corruption_like
from snellen.methods.treatments.steady_changes import OFTEN
from snellen.models.classifiers.trainable import trainable
from tests.methods.treatments.planted import LONG, SIDE, accuracy, patient, pictures, trained

CLASSES = (np.arange(240) % 2).tolist()


def attribute(*subjects, kind="attribute"):
    return tuple(Finding(kind=kind, subject=one, harm=0.3, title="planted") for one in subjects)


@pytest.fixture(scope="module")
def centred():
    """Trained on objects that all stand in the middle."""
    images = pictures(CLASSES, corner=(4, 4), masks=True)
    return patient(trained(images, epochs=8), images, images, *attribute("position"))


@pytest.mark.parametrize("masks", [True, False], ids=["objects", "whole images"])
def test_places_that_were_never_seen_are_learnt(centred, masks):
    case = centred if masks else replace(centred, images=None, remembered={})
    elsewhere, usual = pictures(CLASSES, seed=2), pictures(CLASSES, corner=(4, 4), seed=2)
    before = accuracy(case.classifier, elsewhere)
    treated = ObjectTuning(plan=LONG).treat(trainable(case.classifier), case, rng=Randomness(0))
    assert before < 0.85
    assert accuracy(treated, elsewhere) > 0.95
    assert accuracy(treated, usual) > 0.98


@pytest.mark.parametrize("subject", ["size", "position", "direction"])
def test_an_object_is_changed_before_its_own_background(centred, subject, monkeypatch):
    """Light objects on dark ground: where they are afterwards can be seen."""
    monkeypatch.setattr(geometric_tuning, "steady_changes", lambda patient: None)
    lights = [row for row, label in enumerate(CLASSES) if label][:12]
    images, targets = centred.training.read(torch.tensor(lights))
    case = replace(centred, findings=attribute(subject))
    change, *others = ObjectTuning().term(case, rng=Randomness(0)).transforms
    assert others == [change] * (OFTEN - 1)
    rng = Randomness(3).for_examples([centred.training.ids[row] for row in lights])
    changed, same = change(images / 255, targets, rng)
    assert torch.equal(same, targets)
    assert torch.equal(change(images / 255, targets, rng)[0], changed)
    assert torch.equal(change(images[2:5] / 255, targets[2:5], rng[[2, 3, 4]])[0], changed[2:5]), "no image for itself"
    before, after = ((part[:, 0] > 0.55).double() for part in (images / 255, changed))
    areas = after.sum((1, 2)) / before.sum((1, 2))
    rows = (after * torch.arange(SIDE)[:, None]).sum((1, 2)) / after.sum((1, 2))
    if subject == "size":
        assert float(areas.min()) < 0.6
        assert float(areas.max()) > 1.2
    else:
        assert 0.75 < float(areas.min()) <= float(areas.max()) < 1.3, "the object is as large, and all of it is inside"
    assert (float(rows.std()) > 1.5) == (subject == "position")


def test_what_no_transform_matches_is_refused(centred):
    network = trainable(centred.classifier)
    busy = replace(centred, findings=attribute("background"))
    assert "and not background" in ObjectTuning().refusal(network, busy)
    assert ObjectTuning().refusal(network, replace(centred, findings=attribute("background", "size"))) is None
    drawn = replace(centred, findings=attribute("cartoon", kind="nuisance"))
    assert "looks like cartoon" in NuisanceTuning().refusal(network, drawn)
    assert corruption_like("heavy_snow") == "snow"


def test_findings_decide_which_transforms_there_are(centred):
    def count(method, *findings):
        return len(method.term(replace(centred, findings=findings), rng=Randomness(0)).transforms)

    assert count(ObjectTuning(), *attribute("size", "position", "background")) == 2 * OFTEN
    assert count(NuisanceTuning(), *attribute("dense fog", "haze", "snow", "cartoon", kind="nuisance")) == 2
    assert count(ViewTuning(), Finding(kind="viewpoint", harm=0.1, title="planted")) == 1
    assert (
        count(ViewTuning(), *(Finding(kind=kind, harm=0.1, title="planted") for kind in ("viewpoint", "aliasing"))) == 2
    )


def test_nuisances_are_damaged_as_an_audit_damages_images(centred):
    foggy = replace(centred, findings=attribute("fog", kind="nuisance"))
    (damage,) = NuisanceTuning().term(foggy, rng=Randomness(0)).transforms
    images, rng = torch.rand(40, 3, SIDE, SIDE), Randomness(0).bind(40)
    damaged = damage(images, torch.zeros(40), rng)[0]
    each = [corrupt(images, benchmark("imagenet-c"), "fog", severity, rng.child("damage")) for severity in SEVERITIES]
    nearest = [min(float((one[row] - damaged[row]).abs().max()) for one in each) for row in range(40)]
    assert max(nearest) < 1e-5, "each image is that of one severity"
    assert (
        len({min(range(5), key=lambda k: float((each[k][row] - damaged[row]).abs().max())) for row in range(40)}) >= 3
    )


def test_positions_between_pixels_move_an_image_by_less_than_two_pixels(centred):
    aliased = replace(centred, findings=(Finding(kind="aliasing", harm=0.1, title="planted"),))
    (move,) = ViewTuning().term(aliased, rng=Randomness(0)).transforms
    ramp = (torch.arange(SIDE) / SIDE).expand(8, 3, SIDE, SIDE).contiguous()
    moved = (move(ramp, torch.zeros(8), Randomness(0).bind(8))[0] - ramp)[:, 0, 4:-4, 4:-4].flatten(1)
    pixels = moved.mean(1) * SIDE
    assert float(pixels.abs().max()) <= 1.0 + 1e-4
    assert float(pixels.std()) > 0.2
