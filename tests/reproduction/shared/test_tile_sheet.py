"""Rows of captioned tiles: sizes, colours of decisions, and that small pictures stay sharp."""

import numpy as np
import torch
from PIL import Image

from snellen.reproduction.shared.tile_sheet import (
    GAP,
    LINE,
    RIGHT,
    TITLE,
    WRONG,
    Tile,
    as_bytes,
    stack,
    tile_sheet,
    verdict,
)


def grey(level, side=4):
    return torch.full((3, side, side), level, dtype=torch.uint8)


def test_rows_have_room_for_title_words_and_the_longest_row():
    rows = [("a title", [Tile(grey(0), ("one", "two"))] * 3), ("", [Tile(grey(0))])]
    sheet = tile_sheet(rows, 8)
    assert sheet.width == GAP + 3 * (8 + GAP)
    assert sheet.height == (TITLE + 8 + 2 * LINE + GAP) + (8 + GAP) + GAP // 4


def test_small_pictures_are_enlarged_without_mixing_their_pixels():
    checked = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).expand(3, 2, 2)
    pixels = np.asarray(tile_sheet([("", [Tile(checked)])], 6))[:6, GAP : GAP + 6]
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels[:3, :3] == 0).all()
    assert (pixels[:3, 3:] == 255).all()


def test_a_frame_says_whether_a_decision_is_right():
    assert (verdict("star", "star"), verdict("star", "ring")) == (RIGHT, WRONG)
    sheet = tile_sheet([("", [Tile(grey(0, 16), frame=verdict("star", "ring")), Tile(grey(0, 16))])], 16)
    assert sheet.getpixel((GAP, 0)) == tuple(bytes.fromhex(WRONG[1:]))
    assert sheet.getpixel((GAP + 16 + GAP, 0)) == (0, 0, 0)


def test_values_outside_the_range_are_cut_and_grey_becomes_three_channels():
    found = as_bytes(torch.tensor([[[-1.0, 0.5, 2.0]]]))
    assert found.shape == (3, 1, 3)
    assert found[0, 0].tolist() == [0, 128, 255]


def test_sheets_below_each_other_keep_their_widths():
    made = stack([Image.new("RGB", (4, 2), "black"), Image.new("RGB", (2, 3), "black")])
    assert made.size == (4, 5)
    assert made.getpixel((3, 1)) == (0, 0, 0)
    assert made.getpixel((3, 4)) == (255, 255, 255)
