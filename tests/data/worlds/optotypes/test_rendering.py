from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, NUISANCES, SHAPES, STYLES, TEXTURES
from snellen.data.worlds.optotypes.lettering import GAP, HEIGHT, WIDTH, write_lettering
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject
from tests.data.worlds.optotypes.random_scenes import random_scenes

FOLDER = Path(__file__).parent
SCENES = random_scenes(40)
STAR = SceneObject(shape="star", colour="red", texture="striped", radius=0.5, x=-0.2, y=0.1)
BLOB = SceneObject(shape="circle", colour="blue", radius=0.4, x=0.3, y=0.1)


def changed(scene, **values):
    return scene.model_copy(update=values)


@pytest.mark.parametrize("size", [24, 32, 57])
def test_a_scene_is_drawn_as_if_alone(size):
    together = render(SCENES, size)
    for position in (0, 3, 17, 39):
        alone = render([SCENES[position]], size)
        assert torch.equal(alone.pixels[0], together.pixels[position])
        objects = len(SCENES[position].objects)
        assert torch.equal(alone.coverage[0], together.coverage[position, :objects])
        assert not together.coverage[position, objects:].any()


def test_the_order_of_scenes_and_the_number_of_threads_do_not_matter():
    drawn = render(SCENES, 32).pixels
    assert torch.equal(render(SCENES[::-1], 32).pixels.flip(0), drawn)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(render(SCENES, 32).pixels, drawn)
    finally:
        torch.set_num_threads(before)


def test_where_objects_are_seen_is_the_same_without_the_pictures():
    assert torch.equal(visible(SCENES, 32), render(SCENES, 32).coverage)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("texture", ["plain", "checkered"])
def test_the_mask_is_the_alpha_of_the_pictures(shape, texture):
    # Two known grounds give the alpha of what lies over both (Smith and Blinn 1996, "Blue screen matting").
    scenes = [
        Scene(objects=objects, background=ground, seed=3)
        for objects in ((STAR.model_copy(update={"shape": shape, "texture": texture}),), ())
        for ground in ("grey", "night")
    ]
    drawn = render(scenes, 128)
    pictures = drawn.pixels.float().sum(1)
    apart = (pictures[2] - pictures[3]).abs() > 200  # not where a star of the night is as bright as the grey
    alpha = 1 - (pictures[0] - pictures[1]) / (pictures[2] - pictures[3])
    # At the outline, the shadow keeps 0.6 of the ground: where the object covers half a pixel, 0.7 of it is gone.
    seen, mask = (alpha > 0.7) & apart, (drawn.coverage[0, 0] > 0.5) & apart
    overlap = float((seen & mask).sum() / (seen | mask).sum())
    assert overlap >= 0.99


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("instance", [0, 4])
def test_the_mask_at_any_size_is_the_fine_one(shape, instance):
    scene = Scene(objects=(STAR.model_copy(update={"shape": shape, "instance": instance, "rotation": 0.3}),))
    fine = F.avg_pool2d(visible([scene], 512), 8)[0, 0]
    mask = visible([scene], 64)[0, 0]
    soft_overlap = torch.minimum(fine, mask).sum() / torch.maximum(fine, mask).sum()
    assert soft_overlap >= 0.98, float(soft_overlap)
    assert ((mask > 0.5) & (fine > 0.5)).sum() / ((mask > 0.5) | (fine > 0.5)).sum() >= 0.98


def test_what_lies_on_top_hides_what_lies_below():
    scene = Scene(objects=(STAR, BLOB.model_copy(update={"x": -0.2})))
    below, above = visible([scene], 64)[0]
    alone = visible([Scene(objects=(STAR,))], 64)[0, 0]
    assert torch.allclose(below, alone * (1 - above))
    assert float((below + above).max()) <= 1 + 1e-6


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_a_nuisance_of_strength_0_changes_nothing_and_a_faint_one_hardly_anything(nuisance):
    scene = Scene(objects=(STAR, BLOB), background="brick", seed=11)
    clean = render([scene], 64).pixels.float()
    zero = render([changed(scene, nuisances=Nuisances(**{nuisance: 0.0}))], 64).pixels.float()
    assert torch.equal(zero, clean)
    faint = render([changed(scene, nuisances=Nuisances(**{nuisance: 1e-4}))], 64).pixels.float()
    assert float((faint - clean).abs().mean()) < 0.05


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_a_nuisance_grows_with_its_strength(nuisance):
    scenes = [Scene(objects=(STAR, BLOB), background=ground, seed=seed) for seed, ground in enumerate(BACKGROUNDS)]
    last = torch.zeros(len(scenes))
    clean = render(scenes, 48).pixels.float()
    for strength in (0.5, 1, 2, 3, 4, 5):
        worse = render([changed(s, nuisances=Nuisances(**{nuisance: strength})) for s in scenes], 48).pixels.float()
        distance = (worse - clean).abs().mean((1, 2, 3))
        assert bool((distance > last).all()), (nuisance, strength)
        last = distance


def test_snow_keeps_its_flakes_while_it_gets_heavier():
    scene = Scene(background="night", seed=5)
    series = render([changed(scene, nuisances=Nuisances(snow=s)) for s in (1, 2, 3, 4, 5)], 64).pixels.float().mean(1)
    assert bool((series.diff(dim=0) >= -1).all())


def test_one_factor_changes_only_what_belongs_to_it():
    scene = Scene(objects=(STAR,), background="sand", seed=9)
    base = render([scene], 64)
    far = (base.coverage[0, 0] == 0) & (F.max_pool2d(base.coverage[0], 17, 1, 8)[0] == 0)
    for factor, value in {"colour": "green", "texture": "dotted"}.items():
        other = render([changed(scene, objects=(STAR.model_copy(update={factor: value}),))], 64)
        assert torch.equal(other.coverage, base.coverage)
        assert torch.equal(other.pixels[0][:, far], base.pixels[0][:, far])
        assert not torch.equal(other.pixels, base.pixels)


def test_values_of_each_factor_give_different_pictures():
    scene = Scene(objects=(STAR,), seed=1)
    series = {
        "background": [changed(scene, background=name) for name in BACKGROUNDS],
        "style": [changed(scene, style=name) for name in STYLES],
        "texture": [changed(scene, objects=(STAR.model_copy(update={"texture": name}),)) for name in TEXTURES],
        "light": [changed(scene, light=Light(level=level, warmth=warm)) for level in (0.5, 1) for warm in (-1, 1)],
        "instance": [changed(scene, objects=(STAR.model_copy(update={"instance": n}),)) for n in range(4)],
        "seed": [changed(scene, seed=n) for n in range(4)],
        "lettering": [changed(scene, lettering=Lettering(text=text)) for text in ("A", "B", "AB", "8")],
    }
    for name, scenes in series.items():
        pictures = render(scenes, 32).pixels.float().flatten(1)
        distances = torch.cdist(pictures, pictures) + torch.eye(len(pictures)) * 1e9
        assert float(distances.min()) > 30, name


def test_an_inverted_scene_is_the_negative():
    scene = Scene(objects=(STAR,), background="grass")
    pixels = render([scene, changed(scene, style="inverted")], 32).pixels.int()
    assert int((pixels[0] + pixels[1] - 255).abs().max()) <= 1


def test_the_pictures_of_committed_scenes_stay_what_they_are():
    # Written by scripts/write_golden_scenes.py. Another build may differ by two levels.
    lines = (FOLDER / "golden_scenes.jsonl").read_text(encoding="utf-8").splitlines()
    golden = torch.from_numpy(np.array(Image.open(FOLDER / "golden_scenes.png"))).int()
    tiles = golden.unflatten(0, (-1, 32)).unflatten(2, (-1, 32)).permute(0, 2, 4, 1, 3).flatten(0, 1)
    difference = (render([Scene.from_json(line) for line in lines], 32).pixels.int() - tiles).abs()
    assert int(difference.max()) <= 2


@pytest.mark.parametrize(
    ("scenes", "size", "message"), [([], 32, "no scenes"), (SCENES[:1], 4, "got 4"), (SCENES[:1], 5000, "got 5000")]
)
def test_refused(scenes, size, message):
    with pytest.raises(InputError, match=message):
        render(scenes, size)


@pytest.mark.parametrize("size", [16, 32, 64, 224])
def test_letters_change_nothing_further_than_a_dot_from_their_box(size):
    lettering = Lettering(text="AB", height=0.4, y=0.3)
    dot = lettering.height / HEIGHT
    plain = torch.full((3, size, size), 0.5)
    moved = (write_lettering(plain, lettering) - plain).abs().amax(0)
    place = (torch.arange(size) + 0.5) * (2 / size) - 1
    half_width = dot * ((WIDTH + GAP) * len(lettering.text) - GAP) / 2
    far_across = (place - lettering.x).abs() > half_width + dot
    far_down = (place - lettering.y).abs() > lettering.height / 2 + dot
    assert float(moved[far_down[:, None] | far_across[None]].max()) == 0
    assert float(moved.max()) > 0.25
