"""Regions with phrases: from a Parquet file on images of a set, and from a folder of MILANNOTATIONS."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.models.classifiers.references import load_classifier
from snellen.systems.neuron_descriptions.captioned_regions import captioned_units
from snellen.systems.neuron_descriptions.recipe import NeuronDescriber
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.training.plan import TrainingPlan
from tests.verbs.picture_sets import InMemory

PLAN = TrainingPlan(epochs=1, batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def encoder():
    return RegionEncoder(load_classifier("bundled:scene-cnn"), ("body.2",))


@pytest.fixture(scope="module")
def pixels():
    """Four pictures whose left half is one colour and whose right half is another."""
    found = np.zeros((4, 3, 32, 32), dtype=np.uint8)
    found[:, 0, :, :16], found[:, 2, :, 16:] = 255, 255
    return found


@pytest.fixture(scope="module")
def photos(pixels):
    pictures = [Image.fromarray(one.transpose(1, 2, 0)) for one in pixels]
    return ImageSet(InMemory(pictures), pa.table({"id": list("abcd")}), name="photos")


def png(mask):
    written = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(written, "PNG")
    return written.getvalue()


def half(side):
    mask = np.zeros((32, 32), dtype=bool)
    mask[:, slice(0, 16) if side == "left" else slice(16, 32)] = True
    return mask


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def boxes(side, phrase, ids="abcd", **more):
    left = {"left": 0, "top": 0, "width": 16, "height": 32} | ({} if side == "left" else {"left": 16})
    return [{"id": one, "phrase": phrase, **left, **more} for one in ids]


def test_a_box_and_a_mask_of_one_region_are_one_vector(tmp_path, photos, encoder, pixels):
    boxed = write(tmp_path / "boxes.parquet", boxes("left", "red walls") + boxes("right", "blue walls"))
    masked = write(tmp_path / "masks.parquet", [
        {"id": one, "phrase": phrase, "mask": png(half(side))}
        for side, phrase in (("left", "red walls"), ("right", "blue walls")) for one in "abcd"
    ])  # fmt: skip
    one, other = (captioned_units(path, photos, encoder, exemplars=3, sentences=2) for path in (boxed, masked))
    assert torch.equal(one.regions.vectors, other.regions.vectors)
    assert one.sentences == (("red walls", "red walls"), ("blue walls", "blue walls"))
    assert one.regions.present.sum(1).tolist() == [3, 3], "four regions, of which three are taken"
    wanted = encoder.encode(torch.from_numpy(pixels[:1]) / 255, torch.from_numpy(half("left"))[None])
    assert torch.allclose(one.regions.vectors[0, 0], wanted[0], atol=1e-6)
    assert not torch.allclose(one.regions.vectors[0], one.regions.vectors[1], atol=1e-3)


def test_rows_of_a_unit_belong_together_whatever_they_say(tmp_path, photos, encoder):
    rows = boxes("left", "red", "ab", unit="u1") + boxes("left", "warm walls", "c", unit="u1")
    path = write(tmp_path / "units.parquet", rows + boxes("right", "blue", unit="u2"))
    found = captioned_units(path, photos, encoder, exemplars=5, sentences=3)
    assert found.sentences == (("red", "warm walls", "red"), ("blue", "blue", "blue"))
    assert found.regions.present.sum(1).tolist() == [3, 4]


def test_a_folder_of_milannotations_is_read_layer_by_layer(tmp_path, encoder, pixels):
    (tmp_path / "conv1").mkdir()
    masks = np.stack([half("left"), half("right"), np.zeros((32, 32), dtype=bool)])[:, None, None].repeat(4, 1)
    np.save(tmp_path / "conv1" / "images.npy", np.stack([pixels] * 3))
    np.save(tmp_path / "conv1" / "masks.npy", masks)
    np.save(tmp_path / "conv1" / "units.npy", np.array([7, 9, 11]))
    (tmp_path / "annotations.csv").write_text(
        "layer,unit,summary\nconv1,7,Red walls\nconv1,7,left sides\nconv1,9,blue walls\nconv1,11,nothing\n"
    )
    found = captioned_units(tmp_path, None, encoder, exemplars=4, sentences=2)
    assert found.sentences == (("Red walls", "left sides"), ("blue walls", "blue walls")), "11 has no region"
    wanted = encoder.encode(torch.from_numpy(pixels[:1]) / 255, torch.from_numpy(half("right"))[None])
    assert torch.allclose(found.regions.vectors[1, 0], wanted[0], atol=1e-6)
    (tmp_path / "conv1" / "images.npy").unlink()
    with pytest.raises(InputError, match=r"no images\.npy"):
        captioned_units(tmp_path, None, encoder, exemplars=4, sentences=2)


def test_a_describer_learns_from_them(tmp_path, photos):
    rows = [row for number in range(8) for row in boxes(("left", "right")[number % 2], f"walls {number}", "ab")]
    path = write(tmp_path / "regions.parquet", rows)
    recipe = NeuronDescriber(
        regions=str(path), levels=("body.2",), exemplars=2, sentences=1, plan=PLAN, language_plan=PLAN
    )
    made = recipe.fit(photos, rng=Randomness(0))
    assert {"walls", "0"} < set(made.card.architecture["words"]) | {"0"}
    assert made.card.lineage.recipe["units used"] == 8


def test_what_cannot_be_read_is_refused_by_name(tmp_path, photos, encoder):
    def read(rows):
        return captioned_units(write(tmp_path / "bad.parquet", rows), photos, encoder, exemplars=2, sentences=1)

    with pytest.raises(InputError, match="names the image 'z', which photos does not have"):
        read(boxes("left", "red", "z"))
    with pytest.raises(InputError, match="expected id, phrase and a mask"):
        read([{"id": "a", "phrase": "red"}])
    with pytest.raises(InputError, match=r"has 8 × 8 pixels, its image 32 × 32"):
        read([{"id": "a", "phrase": "red", "mask": png(np.ones((8, 8)))}])
    with pytest.raises(InputError, match="1 units with a region"):
        read(boxes("left", "red"))
    with pytest.raises(InputError, match="neither a Parquet file"):
        captioned_units(tmp_path / "none", photos, encoder, exemplars=2, sentences=1)
