"""The experiment of system 27: its scenes, what edits should have made of them, and figures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.rendering import render
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.attribute_editing import full as published
from snellen.reproduction.attribute_editing.experiment import attribute_editing
from snellen.reproduction.attribute_editing.materials import CLASSES, OWN, drawn_anew, drawn_into, oracle, shown
from snellen.reproduction.attribute_editing.networks import ARMS, scaled_and_cropped
from snellen.reproduction.attribute_editing.table import drops_table
from snellen.reproduction.sample import mean_of
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
    turns, places = drawn_turn(rng), rng.uniform("place", (2,)).tolist()
    for kind, row in SETTINGS.items():
        if row.attribute not in ("size", "position", "direction"):
            continue
        found = Edit(row).edit(every.images, every.masks, 5.0, rng=rng, backgrounds=every.backgrounds)
        scenes = [
            oracle(scene, ObjectLayer(every.images[at], every.masks[at]), row, place=places[at], degrees=turns[at])
            for at, scene in enumerate(every.scenes)
        ]
        images, masks = drawn_anew(scenes)
        overlap = intersection_over_union(found.masks.numpy(), masks.numpy())
        if row.attribute != "direction":  # an edit that went elsewhere would be seen
            other = intersection_over_union(found.masks.roll(4, 2).numpy(), masks.numpy())
            assert other.mean() < overlap.mean() - 0.1
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


def test_objects_count_as_drawn_and_another_grain_does_not():
    every = shown("test", 40, 4)
    assert float(drawn_into(every.images, every.backgrounds).double().mean()) > 0.9
    other = [scene.model_copy(update={"objects": (), "seed": scene.seed + 1}) for scene in every.scenes]
    again = render(other, 32).pixels.float() / 255
    assert float((again - every.backgrounds).abs().mean()) > 0.01
    assert not bool(drawn_into(again, every.backgrounds).any())


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
    found = {name: mean_of(value) for name, value in found.items()}
    assert all(np.isfinite(value) for value in found.values())
    named = {name.removeprefix("smoke.") for name in found}
    for gate in find_system("27").gates:
        assert "small" not in gate.scales or gate.metric in named, gate.metric
    for claim in find_system("27").claims:
        if "small" not in claim.scales:
            continue
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


def test_the_full_experiment_names_what_it_lacks():
    with pytest.raises(InputError, match=r"SNELLEN_EDITS_IMAGES.*SNELLEN_EDITS_GENERATOR.*SNELLEN_EDITS_CLASSIFIERS"):
        attribute_editing("full", 0, Silent())


class Bright(torch.nn.Module):
    """Class 1 where the whole image is bright, else class 0, of 1,000 classes."""

    def forward(self, images):
        scores = torch.zeros(len(images), 1000)
        scores[:, 0] = 0.5
        return scores + torch.nn.functional.one_hot(torch.tensor(1), 1000) * images.mean((1, 2, 3))[:, None]


def test_the_full_experiment_on_an_unconditional_generator(tmp_path, monkeypatch):
    """Photographs with masks, a classifier of 224 pixels and 1,000 classes; one image without a mask counts nowhere."""
    every = shown("test", 5, 3)
    rows = []
    for row in range(5):
        for name, pixels in (("image", every.images[row]), ("mask", every.masks[row][None].expand(3, -1, -1).float())):
            to_image(pixels).resize((96, 96)).save(tmp_path / f"{name}_{row}.png")
        rows.append(f"image_{row}.png,{row % 2},{f'mask_{row}.png' if row else ''}")
    (tmp_path / "list.csv").write_text("\n".join(["path,label,mask", *rows]))
    names = tuple(f"class {one}" for one in range(1000))
    preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256))
    classifier = Classifier(Bright(), class_names=names, preparation=preparation)
    images = replace(load_images(tmp_path / "list.csv"), class_names=names)
    monkeypatch.setattr(published, "load_images", lambda _: images)
    monkeypatch.setattr(published, "load_classifier", lambda *_, **__: classifier)
    monkeypatch.setenv(published.IMAGES, "images")
    monkeypatch.setenv(
        published.GENERATOR, f"diffusers:{write_smoke_folder('unconditional-unet', tmp_path / 'generator')}"
    )
    monkeypatch.setenv(published.CLASSIFIERS, "one two")
    figures = published.full(0, Silent(), steps=4, made=1, together=3, fill="moved")
    for claim in find_system("27").claims:
        if "full" in claim.scales:
            assert {claim.metric, claim.baseline, *claim.controls} - {None} <= set(figures)
    assert figures["imagenet.kept"] == 4 / 5
    assert len(figures["imagenet.main.size_5"].values) == 4
    assert figures["imagenet.main.size_5"] == figures["imagenet.models.size_5"]  # both are the same network


def test_the_table_of_drops_agrees_with_the_record() -> None:
    root = Path(__file__).parents[3]
    claims = {one["id"]: one for one in json.loads((root / "results/attribute_editing.json").read_text())["claims"]}
    lines = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in drops_table(root).splitlines()]
    cells = {(row[0], name): cell for row in lines[2:] for name, cell in zip(lines[0], row, strict=True)}

    def points(share: float) -> str:
        return f"{100 * share:.1f}"

    assert cells["size_5", "plain"] == points(claims["27.4"]["ours"])
    assert cells["size_8", "plain"] == points(claims["27.4"]["baseline"])
    assert cells["random_position", "augmented"] == points(claims["27.5"]["baseline"])
    assert cells["complex_background", "mean"] == points(claims["27.7"]["ours"])
    assert cells["random_background", "unbiased"] == points(claims["27.3"]["baseline"])
