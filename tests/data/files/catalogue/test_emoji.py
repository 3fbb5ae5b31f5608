"""Emoji by code point, of a tiny font and a tiny folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.catalogue.emoji import emoji_name, load_emoji
from tests.data.files.catalogue.small_files import cutout, encoded, font

GRIN, HEART, MOOSE, HASH = 0x1F600, 0x2764, 0x1FACE, 0x23


def small_font(folder: Path) -> Path:
    pictures = {code: encoded(cutout((200, 0, code % 200), width=8, height=6)) for code in (HASH, HEART, GRIN, MOOSE)}
    path = folder / "small.ttf"
    path.write_bytes(font(pictures))
    return path


def small_folder(folder: Path) -> Path:
    place = folder / "fluent"
    place.mkdir()
    for name in ("1f600", "2764-fe0f", "1f600-1f3fb", "1f389", "1f600-fe0f", "readme"):
        (place / f"{name}.webp").write_bytes(encoded(cutout((0, 0, 200), width=20, height=15, margin=5), "WEBP"))
    return place


def test_only_what_both_styles_have(tmp_path: Path) -> None:
    images = load_emoji(font=small_font(tmp_path), folder=small_folder(tmp_path))
    assert images.ids == ["noto/U+2764", "fluent/U+2764", "noto/U+1F600", "fluent/U+1F600"]
    assert images.class_names == ("heavy black heart", "grinning face")
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.column("group") == ["noto", "fluent"] * 2
    assert images.column("unit_id") == ["U+2764", "U+2764", "U+1F600", "U+1F600"]
    assert images.column("caption")[3] == "grinning face"
    assert json.loads(str(images.column("attributes")[0]))["code_point"] == "U+2764"
    assert images.column("provenance") == ['{"origin":"real"}'] * 4


def test_both_styles_have_the_same_size_and_place(tmp_path: Path) -> None:
    images = load_emoji(font=small_font(tmp_path), folder=small_folder(tmp_path))
    boxes = images.column("boxes")
    assert boxes[0] == boxes[1]
    masks = [np.asarray(images.read_mask(row)) for row in (0, 1)]
    assert ((masks[0] >= 128) != (masks[1] >= 128)).mean() < 0.004  # corners of the coarser one are rounder
    assert images.read(0).getpixel((64, 64)) == (200, 0, HEART % 200)
    assert images.read(1).getpixel((64, 64)) == (0, 0, 200)
    assert images.read(1).getpixel((0, 0)) == (255, 255, 255)


def test_one_style_alone(tmp_path: Path) -> None:
    assert load_emoji(font=small_font(tmp_path)).class_names == ("heavy black heart", "grinning face", "moose")
    folder = small_folder(tmp_path)
    assert load_emoji(folder=folder).unlabelled().column("unit_id") == ["U+2764", "U+1F389", "U+1F600"]
    assert load_emoji(folder=folder, files=["1f389.webp"]).class_names == ("party popper",)


def test_names_do_not_depend_on_the_version_of_python() -> None:
    assert emoji_name(0x1F6DC) == "wireless"  # Unicode 15
    assert emoji_name(0x1FA89) == "harp"  # Unicode 16
    assert emoji_name(0x1FAEF) == "fight cloud"  # Unicode 17
    assert emoji_name(0xFE4E5) is None  # private use
    assert emoji_name(ord("7")) is None


def test_hostile_pictures_are_rejected_by_name(tmp_path: Path) -> None:
    folder = small_folder(tmp_path)
    (folder / "1f600.webp").write_bytes(b"RIFF no webp")
    (folder / "1f389.webp").unlink()
    (folder / "1f389.webp").symlink_to(tmp_path / "damaged.ttf")
    path = tmp_path / "damaged.ttf"
    path.write_bytes(font({GRIN: encoded(cutout())[:40], HEART: encoded(cutout())}))
    images = load_emoji(font=path, folder=folder)
    told = []
    for row, one in enumerate(images.ids):
        try:
            images.read(row)
        except RejectedImageError as error:
            told.append((one, str(error)))
    assert [one for one, _ in told] == ["noto/U+1F600", "fluent/U+1F600"]
    assert "not a readable image" in told[0][1]
    assert "not a readable image" in told[1][1]
    alone = load_emoji(folder=folder)
    with pytest.raises(RejectedImageError, match="leads"):
        alone.read(alone.ids.index("fluent/U+1F389"))


def test_what_makes_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got neither"):
        load_emoji()
    with pytest.raises(InputError, match="there is no such file"):
        load_emoji(font=tmp_path / "absent.ttf")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no pictures named by code point; expected files such as 1f600\.webp"):
        load_emoji(folder=empty)
    (empty / "1f389.webp").write_bytes(encoded(cutout(), "WEBP"))
    with pytest.raises(InputError, match="no emoji in common"):
        load_emoji(font=small_font(tmp_path), folder=empty)
