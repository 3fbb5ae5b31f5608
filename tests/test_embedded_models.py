"""The models that ship with the package do, through the adapters of the real ones, what docs/embedded-models.md says.

Small samples and bounds well below what was measured: these tests find a folder that is damaged, a loader that reads it
wrongly, or a preparation that changed, not a difference of a percent.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from snellen.core import package
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, DescribedObject, described
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.optotypes.truth import attribute_f1, pooled
from snellen.data.worlds.planting.scene_shortcuts import scenes_of, with_scenes
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import auroc
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.dual_encoders.zero_shot import zero_shot_classifier
from snellen.models.references import load_captioner, load_segmenter, load_two_tower
from snellen.models.weights.bundled_folders import bundled_folder, bundled_folders, read_card
from snellen.reproduction.attribute_editing.materials import drawn_into, shown
from snellen.reproduction.tileability.experiment import HELD_OUT
from snellen.systems.attribute_editing.editor import BackgroundEditor
from snellen.systems.neuron_descriptions.describer import load_describer
from snellen.systems.neuron_descriptions.drawn_units import drawn_units
from snellen.systems.neuron_descriptions.region_sentences import said_attributes
from snellen.systems.neuron_descriptions.region_truth import FactorMaps, attributes_of_units
from snellen.systems.neuron_descriptions.regions_of_units import reader, unit_regions
from snellen.systems.neuron_descriptions.varied_letters import varied_letters
from snellen.systems.tileability.tileability import load_tileability
from snellen.training.students import StudentPlan, store_to_measure

SHAPES = ("square", "triangle", "star", "cross", "ring", "heart")
WORLD = Scenes(
    count=64,
    shapes=SHAPES,
    colours=("red", "yellow", "green", "blue", "purple", "white"),
    textures=("plain", "striped", "dotted"),
    sizes=("medium", "large"),
    tilts=("upright",),
    backgrounds=("grey", "grass", "sand", "brick"),
    captions=False,
    seed=5,
)
LARGEST_FILE, LARGEST_SUM = 4_000_000, 19_600_000


@pytest.fixture(scope="module")
def scenes():
    return WORLD.scenes("test")


@pytest.fixture(scope="module")
def images(scenes):
    return to_unit(render(scenes, 32).pixels)


def share(said, true):
    return sum(one == other for one, other in zip(said, true, strict=True)) / len(true)


def test_weights_are_small_and_every_folder_has_its_training():
    weights = [path for folder in package.asset_folders() for path in folder.rglob("*.safetensors")]
    sizes = {path: path.stat().st_size for path in weights}
    assert max(sizes.values()) <= LARGEST_FILE
    assert sum(sizes.values()) <= LARGEST_SUM
    for folder in package.EMBEDDED:
        records = json.loads((package.asset(folder) / "training.json").read_text(encoding="utf-8"))
        for record in records.values():
            assert record["steps"] > 0
            assert len(record["first losses"]) == 5
            assert record["environment"]["torch"]


@pytest.mark.parametrize("name", bundled_folders())
def test_every_folder_is_that_of_its_card(name):
    card = read_card(bundled_folder(name))
    assert card.description
    assert card.metrics


def test_the_judge_reads_scenes(scenes, images):
    answers = load_judge().answers(images)
    assert share(answers["shape"], [scene.objects[0].shape for scene in scenes]) > 0.95
    assert share(answers["colour"], [scene.objects[0].colour for scene in scenes]) > 0.95
    assert share(answers["background"], [scene.background for scene in scenes]) > 0.95


def test_the_judge_reads_more_fog_where_there_is_more(scenes):
    judge = load_judge()
    read = [
        float(judge.measured(to_unit(render([with_fog(scene, strength) for scene in scenes], 32).pixels))["fog"].mean())
        for strength in (0.0, 1.5, 3.0)
    ]
    assert read[0] < 0.1 < read[1] < read[2]


def with_fog(scene, strength):
    return scene.model_copy(update={"nuisances": scene.nuisances.model_copy(update={"fog": strength})})


def test_towers_tell_shapes_that_were_only_named(scenes, images):
    towers = load_two_tower("bundled:scene-clip")
    prompts = {
        shape: [caption(Described(objects=(DescribedObject(shape=shape),)), seed=seed) for seed in range(6)]
        for shape in SHAPES
    }
    classifier = zero_shot_classifier(towers, prompts)
    said = [SHAPES[number] for number in classifier(images).argmax(1).tolist()]
    assert share(said, [scene.objects[0].shape for scene in scenes]) > 0.9


def test_text_becomes_the_picture_that_it_says(scenes):
    sampler = Sampler(load_generator("bundled:scene-diffusion"), steps=15)
    some = scenes[:32]
    prompts = [caption(described(scene), detail=["shape", "colour", "background"]) for scene in some]
    answers = load_judge().answers(generate(sampler, range(32), prompts=prompts, guidance_scale=2.0).images)
    assert share(answers["colour"], [scene.objects[0].colour for scene in some]) > 0.8
    assert share(answers["background"], [scene.background for scene in some]) > 0.8
    assert share(answers["shape"], [scene.objects[0].shape for scene in some]) > 0.6


def test_classes_become_the_thumbnails_that_they_name():
    sampler = Sampler(load_generator("bundled:fashion-diffusion"), steps=15)
    classes = [number % 10 for number in range(40)]
    images = generate(sampler, range(40), classes=classes, guidance_scale=2.0, batch_size=20).images
    for judge in ("bundled:fashion-cnn", "bundled:fashion-judge"):
        assert share(load_classifier(judge)(images).argmax(1).tolist(), classes) > 0.7


def test_the_painter_leaves_empty_what_is_empty_and_draws_nothing_beside_an_object():
    """The text-to-image model, without a text, draws something into every third of these."""
    every = shown("test", 24, 9)
    editor = BackgroundEditor(load_generator("bundled:scene-painter"))
    nothing = torch.zeros_like(every.masks)
    empty = editor.edit(every.backgrounds, nothing, every.backgrounds, list(range(24)))
    assert int(drawn_into(empty, every.backgrounds).sum()) <= 1
    assert 0.01 < float((empty - every.backgrounds).abs().mean()) < 0.06, "painted, and painted alike"
    around = editor.edit(every.images, every.masks, every.backgrounds, list(range(24)))
    assert int(drawn_into(around, every.images).sum()) <= 1


def test_a_point_cuts_out_what_it_lies_on(scenes):
    drawn = render(scenes, 64)
    masks = drawn.coverage.sum(1) >= 0.5
    points = torch.stack([first_inside(mask) for mask in masks])
    found = load_segmenter("bundled:scene-sam").segment(to_unit(drawn.pixels), points=points[:, None])
    assert intersection_over_union(found.regions.numpy(), masks.numpy()).mean() > 0.8


def first_inside(mask):
    rows, columns = mask.nonzero().unbind(1)
    middle = len(rows) // 2
    return torch.stack([columns[middle], rows[middle]]).float()


def test_captions_state_what_is_there(scenes, images):
    said = [parse(text) for text in load_captioner("bundled:scene-captioner").caption(images).texts]
    pairs = [(one.objects[0], scene.objects[0]) for one, scene in zip(said, scenes, strict=True) if one.objects]
    assert len(pairs) > 60
    assert share([said.colour for said, _ in pairs], [true.colour for _, true in pairs]) > 0.9
    assert share([said.shape for said, _ in pairs], [true.shape for _, true in pairs]) > 0.8


def test_the_classifier_that_may_guide_tells_shapes(scenes, images):
    classifier = load_classifier("bundled:scene-cnn")
    said = [classifier.class_names[number] for number in classifier(images).argmax(1).tolist()]
    assert share(said, [scene.objects[0].shape for scene in scenes]) > 0.9


def test_the_describer_says_what_drawn_units_follow():
    describer = load_describer("bundled:scene-describer")
    world = WORLD.model_copy(update={"count": 300, "lettering_share": 0.4, "seed": 8})
    images = with_scenes(world.images(split="val"), varied_letters(world.scenes("val"), np.random.default_rng(0)))
    maps = FactorMaps.of_scenes(scenes_of(images), 32)
    (units,) = drawn_units(maps, 40, exemplars=15, share=0.99, seed=5)
    said = describer.describe(unit_regions(units, describer.encoder, reader(images, Preprocessing())), width=10)
    truth = attributes_of_units(units, maps)
    score = pooled(
        attribute_f1(said_attributes(one.text), true) for one, true in zip(said, truth, strict=True) if one and true
    )
    assert score.f1 > 0.6


def test_the_metric_ranks_textures_that_repeat_above_their_broken_twins():
    textures = Textures(count=120, size=64, generators=HELD_OUT, seed=31).images()
    held = store_to_measure(textures, StudentPlan(), preparation=Preprocessing(size=(64, 64)))
    with torch.no_grad():
        logits = load_tileability("bundled:tileability").logits(to_unit(held.read(torch.arange(120))[0])).numpy()
    assert auroc(textures.labels, logits) > 0.85
    assert float(np.mean(logits[::2] > logits[1::2])) > 0.8


def test_assets_tell_of_every_folder():
    for folder in package.asset_folders():
        listed = (folder / "README.md").read_text(encoding="utf-8")
        assert [path.name for path in sorted(folder.glob("*/")) if f"`{path.name}/" not in listed] == []
