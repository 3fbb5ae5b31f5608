import json

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.preprocessing import Preprocessing
from snellen.data.loading import prepared_batches
from snellen.data.worlds.optotypes import scene_set
from snellen.data.worlds.optotypes.factors import SHAPES
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.data.worlds.optotypes.scene_set import LABELS, scene_images
from snellen.data.worlds.optotypes.scenes import Scenes

WORLD = Scenes(count=150, objects=(1, 2), individuals=3)
IMAGES = WORLD.images(split="train")
STAR = SceneObject(shape="star", colour="red", radius=0.5)


def test_the_table_says_what_the_scenes_are():
    scenes = WORLD.scenes("train")
    assert IMAGES.ids[:2] == ["train/000000", "train/000001"]
    assert [IMAGES.class_names[label] for label in IMAGES.labels] == [scene.objects[0].shape for scene in scenes]
    assert [Scene.from_json(text) for text in IMAGES.column("attributes")] == scenes
    assert IMAGES.column("unit_id")[0] == f"{scenes[0].objects[0].shape} {scenes[0].objects[0].instance}"
    provenance = Provenance.model_validate_json(IMAGES.column("provenance")[5])
    assert (provenance.origin, provenance.seed) == ("generated", scenes[5].seed)
    assert set(IMAGES.column("split")) == {IMAGES.split} == {"train"}


def test_pictures_are_those_of_the_renderer_in_any_order_and_from_several_threads():
    expected = render(WORLD.scenes("train"), WORLD.size).pixels.permute(0, 2, 3, 1).numpy()
    for index in (149, 0, 130, 64, 63):
        assert np.array_equal(np.asarray(IMAGES.read(index)), expected[index])
    batches = prepared_batches(IMAGES, Preprocessing(size=(32, 32)), 16, workers=3)
    found = np.concatenate([batch.pixels.permute(0, 2, 3, 1).numpy() for batch in batches])
    assert np.array_equal(found, expected)


def test_masks_and_boxes_are_where_the_objects_are():
    for index in range(20):
        mask = np.asarray(IMAGES.read_mask(index))
        assert mask.shape == (32, 32)
        outside = mask.copy()
        for x0, y0, x1, y1 in IMAGES.column("boxes")[index]:
            inside = mask[int(y0) : int(y1), int(x0) : int(x1)]
            assert min(inside[0].max(), inside[-1].max(), inside[:, 0].max(), inside[:, -1].max()) >= 127
            outside[int(y0) : int(y1), int(x0) : int(x1)] = 0
        assert outside.max() <= 128
        assert len(IMAGES.column("boxes")[index]) == len(json.loads(IMAGES.column("attributes")[index])["objects"])


def test_large_pictures_are_drawn_a_few_at_a_time(monkeypatch):
    drawn = []

    def counted(scenes, size):
        drawn.append(len(scenes) * size**2)
        return visible(scenes, size)

    monkeypatch.setattr(scene_set, "visible", counted)
    whole = Scenes(count=5, size=200, captions=False).images()
    assert [len(boxes) for boxes in whole.column("boxes")] == [1] * 5
    assert max(drawn) <= 2**17


def test_an_object_that_is_hidden_has_no_box():
    hidden = STAR.model_copy(update={"radius": 0.2, "shape": "square"})
    images = scene_images([Scene(objects=(hidden, STAR.model_copy(update={"shape": "circle"})))], size=32)
    assert len(images.column("boxes")[0]) == 1


@pytest.mark.parametrize("label", LABELS)
def test_any_factor_can_be_the_label(label):
    images = Scenes(count=40, label=label, captions=False).images()
    scenes = Scenes(count=40).scenes()
    assert [images.class_names[value] for value in images.labels] == [LABELS[label][1](scene) for scene in scenes]


def test_classes_are_those_that_may_occur():
    assert Scenes(count=1, shapes=("star", "ring")).images().class_names == ("star", "ring")
    assert Scenes(count=1, label="size").images().class_names == ("small", "medium", "large")
    assert Scenes(count=1).images().class_names == SHAPES


def test_equal_parameters_make_equal_sets_and_other_ones_do_not():
    again = WORLD.images(split="train")
    assert again.fingerprint() == IMAGES.fingerprint()
    assert WORLD.model_copy(update={"size": 33}).images(split="train").fingerprint() != IMAGES.fingerprint()
    assert WORLD.images(split="test").fingerprint() != IMAGES.fingerprint()


def test_selected_rows_keep_their_pictures_and_masks():
    few = IMAGES.select([7, 3])
    assert few.read(1).tobytes() == IMAGES.read(3).tobytes()
    assert few.read_mask(0).tobytes() == IMAGES.read_mask(7).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "taste"}, "the label of a scene can be shape, .*; got 'taste'"),
        ({"class_names": ["ring"]}, "the shape 'star', which is none of the classes: ring"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        scene_images([Scene(objects=(STAR,))], size=32, **arguments)


def test_a_scene_without_objects_has_no_shape():
    with pytest.raises(InputError, match="without objects has no shape"):
        scene_images([Scene()], size=32)
    assert scene_images([Scene()], size=32, label="background").class_names[0] == "grey"


@pytest.mark.parametrize(
    "wrong",
    [{"objects": (0, 2)}, {"objects": (3, 2)}, {"strengths": (3, 2)}, {"shapes": ()}, {"shapes": ("star",) * 2}],
)
def test_parameters_that_make_no_world(wrong):
    with pytest.raises(InputError):
        Scenes(**wrong)
