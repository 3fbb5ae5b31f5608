"""The experiment of system 27: its scenes, what edits should have made of them, and figures."""

import math

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.reproduction.attribute_editing.experiment import attribute_editing
from snellen.reproduction.attribute_editing.materials import CLASSES, OWN, drawn_anew, oracle, shown
from snellen.reproduction.attribute_editing.networks import ARMS, scaled_and_cropped
from snellen.systems.attribute_editing.editing import Edit, drawn_turn
from snellen.systems.attribute_editing.object_layer import ObjectLayer
from snellen.systems.attribute_editing.published import KINDS, SETTINGS


def test_backgrounds_go_with_classes_as_often_as_stated():
    def share(correlation):
        found = shown("train", 400, 1, correlation=correlation).scenes
        return np.mean([scene.background == OWN[scene.objects[0].shape] for scene in found])

    assert abs(share(0.8) - 0.8) < 0.06
    assert abs(share(0.25) - 0.25) < 0.07
    test = shown("test", 8, 1)
    assert test.labels.tolist() == [0, 1, 2, 3] * 2
    assert [scene.objects[0].shape for scene in test.scenes[:4]] == list(CLASSES)
    assert not set(test.ids) & set(shown("train", 8, 1).ids)
    far = ~(torch.nn.functional.max_pool2d(test.masks[:, None].float(), 13, 1, 6) > 0)[:, 0]
    where = far[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(test.images[where], test.backgrounds[where], atol=0.03, rtol=0)


def test_the_drawn_scene_is_what_the_edit_should_have_made():
    every = shown("test", 12, 2)
    rng = Randomness(2).for_examples(every.ids)
    turns = drawn_turn(rng)
    for kind, row in SETTINGS.items():
        if row.attribute not in ("size", "position", "direction"):
            continue
        found = Edit(row).edit(every.images, every.masks, 5.0, rng=rng, backgrounds=every.backgrounds)
        scenes = [
            oracle(
                scene,
                ObjectLayer(every.images[at], every.masks[at]),
                found.masks[at],
                degrees=turns[at] if row.attribute == "direction" else 0.0,
                resized=row.attribute == "size",
            )
            for at, scene in enumerate(every.scenes)
        ]
        images, masks = drawn_anew(scenes)
        overlap = intersection_over_union(found.masks.numpy(), masks.numpy())
        assert overlap.mean() > (0.8 if row.share and row.share < 0.1 else 0.88), (kind, overlap)
        at = found.masks & masks
        error = (images - found.images).abs().mean(1)[at].mean()
        assert float(error) < 0.12, (kind, float(error))
        if row.attribute == "direction":
            turned = [
                one.objects[0].rotation - scene.objects[0].rotation
                for one, scene in zip(scenes, every.scenes, strict=True)
            ]
            assert turned == pytest.approx([math.radians(angle) for angle in turns])


def test_augmentation_scales_about_a_place_of_its_own():
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, 10:22, 10:22] = 1
    found, _ = scaled_and_cropped(images, torch.zeros(64), Randomness(0).bind(64))
    area = found.sum((1, 2, 3)) / 144
    assert float(area.min()) < 0.5
    assert float(area.max()) > 1.2
    assert float(area.min()) > 0.5**2 * 0.8, "the object stays in the picture"
    rows = torch.arange(32.0)[None, :] * found[:, 0].sum(2)
    assert float((rows.sum(1) / found.sum((1, 2, 3))).std()) > 1


def test_every_figure_that_a_claim_names_is_measured():
    found = attribute_editing("smoke", 100, Silent())
    assert all(np.isfinite(value) for value in found.values())
    named = {name.removeprefix("smoke.") for name in found}
    for claim in find_system("27").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or name in named, name
    assert {f"{arm}.{kind}" for arm in ARMS for kind in KINDS} <= named
    assert found["smoke.changed"] == 0.0
    assert found["smoke.kept"] == 1.0
    assert found["smoke.overlap.oracle.random_position"] > 0.95
    assert min(value for name, value in found.items() if name.startswith("smoke.overlap.oracle")) > 0.7
    check_means({name.removeprefix("smoke."): value for name, value in found.items()})


def check_means(found):
    """Means are of the figures that their names say: the control is in none, what misleads one model where told."""

    def mean(names):
        return pytest.approx(np.mean([found[name] for name in names]))

    edits = [kind for kind, row in SETTINGS.items() if row.attribute != "control"]
    neutral = [kind for kind in edits if kind != "adversarial_background"]
    pasted = [kind for kind in edits if not SETTINGS[kind].guided]
    assert (len(edits), len(pasted)) == (10, 7)
    for arm in ARMS:
        assert found[f"{arm}.mean"] == mean([f"{arm}.{kind}" for kind in edits])
        assert found[f"{arm}.neutral"] == mean([f"{arm}.{kind}" for kind in neutral])
    for kind in KINDS:
        assert found[f"models.{kind}"] == mean([f"{arm}.{kind}" for arm in ARMS])
    for way in ("", "paste.", "oracle."):
        assert found[f"{way}models.shared"] == mean([f"{way}{arm}.{kind}" for arm in ARMS for kind in pasted])
    grounds = ("plain_background", "complex_background", "random_background")
    assert found["models.background"] == mean([f"models.{kind}" for kind in grounds])


def test_there_is_no_full_scale():
    with pytest.raises(InputError, match="choose small"):
        attribute_editing("full", 0, Silent())
