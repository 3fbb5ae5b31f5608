"""Curves as a picture: nothing touches, nothing leaves it, and no logarithm of what has none."""

import numpy as np
import pytest
from PIL import ImageDraw

from snellen.core.errors import InputError
from snellen.runs.curve_picture import Curve, curve_picture

SIZES = (12, 25, 50, 100, 110)


def curves(count=3, name="by_name+guidance_scale={}.0 + half of the real images"):
    return [
        Curve(
            name.format(number),
            points=[(size, (number + 1) * size**-0.3) for size in SIZES],
            line=[(12, (number + 1) * 12**-0.3), (110, (number + 1) * 110**-0.3)],
            band=[(size, (number + 0.8) * size**-0.3, (number + 1.2) * size**-0.3) for size in (12, 110)],
        )
        for number in range(count)
    ]


@pytest.fixture
def written(monkeypatch):
    """Texts that are drawn, with their boxes."""
    found, own = [], ImageDraw.ImageDraw.text

    def text(self, xy, words, fill=None, font=None, anchor=None, **options):
        found.append((words, self.textbbox(xy, words, font, anchor=anchor), self.im.size))
        own(self, xy, words, fill, font, anchor, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


@pytest.mark.parametrize("many", [1, 3, 9])
def test_no_two_texts_touch_and_none_leaves_the_picture(written, many):
    picture = curve_picture(curves(many, name="a very long name of a setting " * 5 + "{}"), "images", "loss, nats")
    assert picture.size[0] == 760
    for number, (words, box, size) in enumerate(written):
        assert box[0] >= 0, words
        assert box[1] >= 0, words
        assert box[2] <= size[0], words
        assert box[3] <= size[1], words
        for others, other, _ in written[:number]:
            apart = box[0] >= other[2] or other[0] >= box[2] or box[1] >= other[3] or other[1] >= box[3]
            assert apart, (words, others)
    words = [text for text, *_ in written]
    assert {"12", "25", "50", "100"} <= set(words)
    assert "110" not in words, "it would touch 100"


def test_every_curve_has_its_dots_its_line_and_its_name(written):
    picture = np.asarray(curve_picture(curves(2), "images", "loss, nats"))
    seen = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert {(0, 0, 0), (0, 0x72, 0xB2)} <= seen
    names = [text for text, *_ in written if text.startswith("by_name")]
    assert names == [curve.name for curve in curves(2)]


@pytest.mark.parametrize("found", [[], [Curve("none")], [Curve("zero", points=[(1, 0.0)])]])
def test_what_has_no_logarithm_is_refused(found):
    with pytest.raises(InputError, match="need positive values"):
        curve_picture(found, "images", "loss")
