"""Photographs inside packages, by files of the same names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.catalogue.photos import known_photos, load_photos


def folders(root: Path) -> dict[str, Path]:
    made = {}
    for package, files in known_photos().items():
        made[package] = root / package
        made[package].mkdir()
        for number, file in enumerate(files):
            Image.new("RGB", (4, 3), (number, 0, 0)).save(made[package] / file)
    return made


def test_every_photograph_has_a_caption_and_a_licence() -> None:
    for photos in known_photos().values():
        for file, photo in photos.items():
            assert photo.caption.endswith("."), file
            assert photo.may_show == (photo.licence != "not stated")
            assert photo.author


def test_columns_and_pictures(tmp_path: Path) -> None:
    images = load_photos(folders(tmp_path))
    assert len(images) == len(set(images.ids)) == sum(len(photos) for photos in known_photos().values())
    assert (images.class_names, images.has_labels) == (None, False)
    row = images.ids.index("scikit-image/coffee.png")
    assert images.column("caption")[row] == "A cup of espresso on a saucer with a spoon."
    attributes = json.loads(str(images.column("attributes")[row]))
    assert (attributes["imagenet"], attributes["licence"], attributes["may_show"]) == ("espresso", "CC0-1.0", True)
    number = list(known_photos()["scikit-image"]).index("coffee.png")
    assert images.read(row).getpixel((0, 0)) == (number, 0, 0)
    units = images.column("unit_id")
    assert units.count("motorcycle") == 2
    assert len(set(units)) == len(units) - 1
    assert images.ids[-1] == "scikit-learn/flower.jpg"
    assert images.read(len(images) - 1).size == (4, 3)
    assert images.content_hash(0) != images.content_hash(1)


def test_missing_files_and_links_are_rejected_by_name(tmp_path: Path) -> None:
    made = folders(tmp_path)
    (made["scikit-learn"] / "china.jpg").unlink()
    flower = made["scikit-learn"] / "flower.jpg"
    flower.unlink()
    flower.symlink_to(made["scikit-image"] / "rocket.jpg")
    images = load_photos(made)
    with pytest.raises(RejectedImageError, match="there is no such file"):
        images.read(images.ids.index("scikit-learn/china.jpg"))
    with pytest.raises(RejectedImageError, match="leads out of its folder"):
        images.read(images.ids.index("scikit-learn/flower.jpg"))
    assert len(load_photos({"scikit-learn": made["scikit-learn"]})) == 2


def test_unknown_packages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known of scikit-image and scikit-learn; got matplotlib"):
        load_photos({"matplotlib": tmp_path})
    with pytest.raises(InputError, match="got no package"):
        load_photos({})
