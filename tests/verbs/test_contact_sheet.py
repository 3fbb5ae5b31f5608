"""Contact sheets: which examples, how large, and that the pictures are the images."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.runs.picture_grid import HEAD
from snellen.runs.settings import Setting
from snellen.runs.thumbnails import GAP, LINE, SIDE, TITLE
from snellen.verbs.contact_sheet import choose_examples, contact_sheet
from snellen.verbs.shift import shift
from tests.verbs.small_shifts import Fade


def arrays(labels, size=(4, 4)):
    return load_arrays(np.full((len(labels), *size, 3), 200, dtype=np.uint8), labels)


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0] * 10 + [1] * 2, [0, 2, 5, 7, 10, 11]),
        ([0] * 5 + [1] * 5 + [2] * 5, [0, 2, 5, 7, 10, 12]),
        ([0, 1], [0, 1]),
        (list(range(12)), [0, 2, 4, 6, 8, 10]),
    ],
)
def test_examples_are_spread_over_classes(labels, chosen):
    found = choose_examples(arrays(labels), range(len(labels)))
    assert sorted(found) == chosen or (len(labels) == 12 and len(set(found)) == 6)


def test_only_usable_images_are_examples():
    assert choose_examples(arrays([0, 0, 1, 1]), [1, 2]) == [1, 2]
    assert choose_examples(arrays([0, 0, 1, 1]), []) == []
    assert choose_examples(arrays([0] * 30).unlabelled(), range(30)) == [0, 5, 10, 15, 20, 25]


def test_pictures_are_the_images(tmp_path):
    images = arrays([0, 1])
    shift(images, Fade(), severities=(0, 5), out=tmp_path / "out")
    with Image.open(tmp_path / "out" / "contact-sheet-fade.png") as sheet:
        assert sheet.size == (GAP + 3 * (SIDE + GAP), TITLE + HEAD + 2 * (SIDE + LINE + GAP))
        columns = [GAP + column * (SIDE + GAP) for column in range(3)]
        for top in (TITLE + HEAD, TITLE + HEAD + SIDE + LINE + GAP):
            seen = [sheet.getpixel((left + SIDE - 1, top + SIDE - 1))[0] for left in columns]
            assert seen == [200, 200, 100]
        text = np.asarray(sheet.convert("L"))
        assert (text[:TITLE] < 128).any(), "a title"
        assert (text[TITLE : TITLE + HEAD] < 128).any(), "heads of the columns"
        assert (text[TITLE + HEAD + SIDE : TITLE + HEAD + SIDE + LINE] < 180).any(), "names of the examples"


@pytest.mark.parametrize(
    ("size", "drawn"), [((28, 28), (140, 140)), ((1, 1), (160, 160)), ((300, 600), (80, 160)), ((1, 700), (1, 160))]
)
def test_thumbnails_fit_and_small_ones_are_whole_multiples(size, drawn):
    height, width = size
    images = load_arrays(np.zeros((1, height, width), dtype=np.uint8), [0])
    sheet = contact_sheet(images, Setting("fade", Fade()), (1,), Randomness(0), [0])
    dark = np.asarray(sheet.convert("L"))[TITLE + HEAD :, GAP : GAP + SIDE]
    block = dark[: max(drawn[0], LINE)]
    assert (block[: drawn[0], : drawn[1]] == 0).all()
    assert (block[:, drawn[1] :] == 255).all()


def test_any_name_can_be_drawn():
    class Plain:
        def read(self, index):
            return Image.new("RGB", (4, 4))

        def content_hash(self, index):
            return str(index)

    table = pa.table({"id": ["x" * 5000, "日本\n\x1b[2J", ""], "label": [0, 1, 1]})
    images = ImageSet(Plain(), table, ("\x00" * 9, "[red]" * 300), name="a\nb" * 999)
    sheet = contact_sheet(images, Setting("fade", Fade()), (1, 2), Randomness(0), [0, 1, 2])
    assert sheet.size[0] == GAP + 3 * (SIDE + GAP)


def test_sheets_can_be_left_out(tmp_path):
    written = shift(arrays([0]), Fade(), out=tmp_path / "out", contact_sheet=False)
    assert written.contact_sheets == ()
    assert not list((tmp_path / "out").glob("*.png"))
