"""Heat maps: colours whose lightness rises, values where their tiles lie, outlines, and their share of the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from snellen.auditing.bag_table import BagTable
from snellen.auditing.finding_picture import HEAT_SHARE, embed_heat, heat_scale
from snellen.auditing.heat_map import chosen_bags, grid_boxes, heat_panel, heat_picture, outlined_picture
from snellen.auditing.html import render_report
from snellen.checks.panels import HeatPicture, Panel
from snellen.methods.explanations.overlay import SCALE, scale_colours
from tests.auditing.example_reports import EVIL, picture, pictured, report
from tests.auditing.hand_made_bags import Bag, image_set, known
from tests.auditing.parsed_page import Page

QUARTERS = grid_boxes([0, 0, 1, 1], [0, 1, 0, 1])
VALUES = np.array([0.0, 1.0, 0.5, 0.25])


def lightness(colours):
    """CIE L* of sRGB colours (n, 3)."""
    linear = np.where(colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.where(y > (6 / 29) ** 3, np.cbrt(y), y / (3 * (6 / 29) ** 2) + 4 / 29) - 16


def test_lightness_rises_along_the_scale_evenly():
    light = lightness(scale_colours(np.linspace(0, 1, 101)).astype(float))
    assert (np.diff(light) > 0).all()
    assert light[-1] - light[0] > 70
    halves = light[50] - light[0], light[100] - light[50]
    assert 0.7 < halves[0] / halves[1] < 1.4


def test_each_tile_has_its_colour_in_its_place():
    pixels = np.asarray(heat_picture(QUARTERS, VALUES, side=64))
    assert pixels.shape == (64, 64, 4)
    for place, (row, column) in enumerate([(16, 16), (16, 48), (48, 16), (48, 48)]):
        assert pixels[row, column].tolist() == [*scale_colours(VALUES[place]).tolist(), 255]


def test_places_without_a_tile_are_clear_and_overlapping_tiles_show_the_largest_value():
    pixels = np.asarray(heat_picture(grid_boxes([0, 1], [0, 1]), np.array([0.2, 0.4]), side=64))
    assert pixels[16, 48, 3] == 0
    twice = np.asarray(heat_picture(np.array([[0.0, 0, 1, 1], [0, 0, 1, 1]]), np.array([0.9, 0.1]), side=8))
    assert twice[4, 4, :3].tolist() == scale_colours(0.9).tolist()


def test_the_picture_below_shades_and_gives_its_proportions():
    below = Image.new("RGB", (20, 10), (255, 255, 255))
    below.paste((0, 0, 0), (0, 0, 10, 10))
    pixels = np.asarray(heat_picture(np.array([[0, 0, 1, 0.5]]), np.array([0.5]), below=below, side=40)).astype(int)
    assert pixels.shape == (20, 40, 4)
    assert pixels[5, 35, :3].tolist() == scale_colours(0.5).tolist(), "the colour of the scale where the slide is white"
    assert (pixels[5, 35, :3] > pixels[5, 5, :3]).all(), "darker where the slide is darker"
    assert pixels[15, 5, 3] < 128 < pixels[5, 5, 3], "what is no tile steps back"


def test_true_tiles_are_outlined_in_white_within_and_black_without():
    truth = np.array([True, True, False, False])
    pixels = np.asarray(heat_picture(QUARTERS, np.full(4, 0.5), truth=truth, side=80))
    assert pixels[39, 40].tolist() == [255, 255, 255, 255]
    assert pixels[40, 40].tolist() == [0, 0, 0, 255]
    middle = scale_colours(0.5).tolist()
    assert pixels[20, 40, :3].tolist() == middle, "no line between two true tiles"
    assert pixels[60, 40, :3].tolist() == middle, "nor between two others"
    same = outlined_picture(Image.new("RGB", (80, 80), (200, 100, 150)), QUARTERS, truth, side=80)
    assert np.asarray(same)[39, 40].tolist() == [255, 255, 255]
    plain = np.asarray(outlined_picture(Image.new("RGB", (80, 80), (200, 100, 150)), QUARTERS, None, side=80))
    assert (plain == (200, 100, 150)).all()


def table(*bags):
    return BagTable.of(known(bags), positive=1, pooling="max", threshold=0.5)


def test_wrong_bags_come_first_and_right_ones_of_both_classes_follow():
    bags = [
        Bag("missed a little", 1, [0.45]),
        Bag("missed", 1, [0.1]),
        Bag("alarm", 0, [0.8]),
        Bag("found", 1, [0.9]),
        Bag("found too", 1, [0.6]),
        Bag("healthy", 0, [0.2]),
        Bag("unknown", None, [0.9]),
    ]
    made = table(*bags)
    names = [bags[place].id for place in chosen_bags(made, 8)]
    assert names == ["missed", "alarm", "missed a little", "found", "healthy", "found too"]
    assert [bags[place].id for place in chosen_bags(made, 4)] == ["missed", "alarm", "found", "healthy"]
    assert chosen_bags(made, 0) == []


def test_masks_say_what_is_true_where_labels_do_not():
    class Masked:
        def __init__(self, values):
            self.values = values

        def read(self, index):
            return Image.new("RGB", (8, 8))

        def content_hash(self, index):
            return str(index)

        def read_mask(self, index, path):
            return Image.new("L", (8, 8), 255 if index == 1 else 0)

    bags = [Bag("a", 1, [0.9, 0.2])]
    images = image_set(bags, Masked, mask=["m0", "m1"], tile_row=[0, 0], tile_column=[0, 1])
    (panel,), _ = heat_panel(table(*bags), known(bags), images, ("healthy", "tumour"), 4)
    assert panel.heat[0].caption.endswith("2 images, 1 known to be tumour")


def heated(*names, check="bags"):
    shown = tuple(HeatPicture(title=f"slide {n}", caption=EVIL, heat=name) for n, name in enumerate(names))
    return Panel(check=check, title="Heat", x_label=f"probability of {EVIL}", heat=shown)


def test_the_page_escapes_what_slides_are_called_and_shows_the_scale():
    name, blob = picture(0)
    source = render_report(report(panels=(heated(name),)), {name: blob}, [])
    assert "<script>alert" not in source
    page = Page(source)
    assert len(page.all("figure", "sheet")) == 1
    assert page.one("svg", "heat-scale").attributes["role"] == "img"
    assert len(page.all("stop")) == len(SCALE)
    assert "alert(1)" in str(heat_scale(EVIL))
    assert "<script>" not in str(heat_scale(EVIL))


def test_heat_maps_take_half_of_the_budget_at_most_and_findings_what_is_left():
    blobs = dict(picture(seed, side=60) for seed in range(4))
    names = sorted(blobs)
    length = {name: len(base64.b64encode(blob)) for name, blob in blobs.items()}
    panel = heated(*names[:2])
    for room, shown in ((sum(length[name] for name in names[:2]), 2), (length[names[0]], 1), (0, 0)):
        budget = round(room / HEAT_SHARE)
        pictures, left = embed_heat([panel], blobs, budget=budget)
        assert len(pictures.sources) == shown
        assert left == budget - sum(length[name] for name in names[:shown])
    finding = pictured(0.2, names[2])
    budget = 2 * length[names[0]]
    page = render_report(report(findings=(finding,), panels=(panel,)), blobs, [], picture_bytes=budget)
    assert "Pictures left out, so that this page stays small" in page
    assert page.count("data:image/webp;base64,") <= 2


@pytest.mark.parametrize("place", range(4))
def test_boxes_of_a_grid_begin_at_the_first_row_and_column(place):
    boxes = grid_boxes([7, 7, 8, 8], [3, 4, 3, 4])
    assert boxes[place].tolist() == QUARTERS[place].tolist()


def test_rows_and_columns_that_are_pixels_of_a_slide_make_no_huge_picture():
    bags = [Bag("a", 1, [0.9, 0.2])]
    for places in ([0, 76_800], [0, 2**40]):
        images = image_set(bags, tile_row=[0, 51_200], tile_column=places)
        panels, blobs = heat_panel(table(*bags), known(bags), images, ("healthy", "tumour"), 4)
        if places[1] < 2**31:
            picture = Image.open(io.BytesIO(blobs[panels[0].heat[0].heat]))
            assert picture.size == (512, 341)
            assert np.count_nonzero(np.asarray(picture)[..., 3]) == 2
        else:
            assert (panels, blobs) == ([], {})
