"""Objects from the masks of a set: whatever lies in the files, a mask fits its image or is refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.preprocessing import Preprocessing
from snellen.models.segmenters.object_masks import ObjectMasks


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of 20 × 10 pixels with an object in the columns 4 to 7, and masks of all kinds."""
    folder = tmp_path_factory.mktemp("masked")
    mask = np.zeros((10, 20), np.uint8)
    mask[2:6, 4:8] = 255
    masks = {
        "same": Image.fromarray(mask),
        "half": Image.fromarray(mask[::2, ::2]),
        "bits": Image.fromarray(mask > 0),
        "colours": Image.fromarray(np.stack([mask] * 3, 2)),
        "turned": Image.fromarray(mask.T.copy()),
        "square": Image.new("L", (9, 9), 255),
    }
    rows = ["path,id,mask"]
    for name, picture in masks.items():
        Image.new("RGB", (20, 10), (90, 40, 10)).save(folder / f"{name}.png")
        picture.save(folder / f"mask-{name}.png")
        rows.append(f"{name}.png,{name},mask-{name}.png")
    for name in ("none", "gone", "text"):
        Image.new("RGB", (20, 10)).save(folder / f"{name}.png")
    (folder / "mask-text.png").write_bytes(b"no picture")
    rows += ["none.png,none,", "gone.png,gone,mask-gone.png", "text.png,text,mask-text.png"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return snellen.load_images(folder / "manifest.csv")


def object_of(photos, name, preparation=None):
    index = photos.ids.index(name)
    chosen = preparation or Preprocessing()
    return ObjectMasks(photos, chosen).of(index, chosen.pixels(photos.read(index)))


@pytest.mark.covers("27.9")
@pytest.mark.parametrize("name", ["same", "half", "bits", "colours"])
def test_a_mask_is_brought_to_the_size_of_its_image_without_new_values(photos, name):
    mask = object_of(photos, name)
    assert mask.shape == (10, 20)
    assert mask.nonzero().tolist() == [[row, column] for row in range(2, 6) for column in range(4, 8)]


@pytest.mark.parametrize("preparation", [None, Preprocessing(size=(8, 8), resize="shorter", resize_to=(8, 8))])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("turned", "its mask is 10×20 pixels, and the image 20×10"),
        ("square", "its mask is 9×9 pixels"),
        ("none", "no mask"),
        ("gone", "no such file"),
        ("text", "."),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(photos, name, reason, preparation):
    with pytest.raises(RejectedImageError, match=reason):
        object_of(photos, name, preparation)
    assert ObjectMasks(photos, preparation or Preprocessing()).read(name) is None


def test_a_small_mask_goes_through_the_crop_of_the_image(photos):
    """Columns 4 to 7 of 20 are 2 to 3 of 10; the middle eight pixels across are kept after the resize to 8 by 16."""
    preparation = Preprocessing(size=(8, 8), resize="shorter", resize_to=(8, 8))
    assert object_of(photos, "half", preparation).equal(object_of(photos, "same", preparation))
    assert object_of(photos, "same", preparation)[:, :2].any()


def test_masks_that_nobody_can_read_are_an_error_and_not_a_reason(photos):
    class Blind:
        def read(self, index):
            return Image.new("RGB", (20, 10))

    blind = replace(photos, source=Blind())
    with pytest.raises(InputError, match="cannot read them"):
        object_of(blind, "same")
