"""Cut-outs on backgrounds: the arithmetic, the mask, and files that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.catalogue.cutout_source import (
    Box,
    CutoutSource,
    Placement,
    background_images,
    composed,
    coverage,
    plain_background,
    survey,
)
from snellen.data.files.decoding import DecodingLimits
from snellen.data.references import load_images
from tests.data.files.catalogue.small_files import cutout, encoded


def soft() -> Image.Image:
    """A picture with every kind of alpha."""
    return Image.fromarray(np.random.default_rng(3).integers(1, 256, (16, 16, 4), dtype=np.uint8), "RGBA")


def test_unscaled_pictures_obey_the_formula_exactly() -> None:
    placement = Placement(size=16, least_share=1, most_share=1)
    picture = soft()
    place = survey(lambda number: encoded(picture), ["x"], placement).places[0]
    assert place is not None
    background = Image.fromarray(np.random.default_rng(4).integers(0, 256, (16, 16, 3), dtype=np.uint8), "RGB")
    shown = np.asarray(composed(picture, place, background, 16))
    mask = np.asarray(coverage(picture, place, 16))
    pixels, behind = np.asarray(picture, dtype=np.float64), np.asarray(background, dtype=np.float64)
    alpha = pixels[..., 3:]
    exact = (alpha * pixels[..., :3] + (255 - alpha) * behind) / 255
    assert np.abs(shown - exact).max() <= 0.5 + 1e-9
    assert (mask == pixels[..., 3]).all()


def test_two_backgrounds_give_colour_and_alpha_back() -> None:
    """On black and on white: their difference is what is not covered, everywhere."""
    placement = Placement(size=40, least_share=0.6, most_share=0.6, position="anywhere")
    source = CutoutSource(
        content=lambda number: encoded(soft()),
        surveyed=survey(lambda number: encoded(soft()), ["x"], placement),
        backgrounds=(plain_background((0, 0, 0)), plain_background((255, 255, 255))),
        size=40,
    )
    black, white = (np.asarray(source.read(row), dtype=int) for row in (0, 1))
    mask = np.asarray(source.read_mask(0, ""), dtype=int)
    assert np.abs(white - black - (255 - mask)[..., None]).max() <= 1
    assert (mask == np.asarray(source.read_mask(1, ""))).all()
    assert source.content_hash(0) != source.content_hash(1)


def test_hidden_colour_does_not_bleed_and_the_box_is_right() -> None:
    picture = cutout((200, 0, 0), width=60, height=40, margin=20)
    surveyed = survey(lambda number: encoded(picture), ["x"], Placement(size=32, least_share=0.75, most_share=0.75))
    place = surveyed.places[0]
    assert place is not None
    assert (place.original, place.crop) == ((100, 80), Box(20, 20, 80, 60))
    assert place.frame == place.box == Box(4, 8, 28, 24)
    shown = np.asarray(composed(picture, place, Image.new("RGB", (1, 1), (0, 0, 0)), 32))
    assert shown[..., 1].max() == 0  # nothing of the green that the margin hides
    inside = np.asarray(coverage(picture, place, 32)) >= 128
    assert inside.sum() == 24 * 16
    assert inside[8:24, 4:28].all()


def test_faint_shadows_do_not_count_as_object() -> None:
    picture = cutout(width=8, height=8, margin=4)
    shadow = Image.new("RGBA", picture.size, (0, 0, 0, 40))
    shadow.alpha_composite(picture)
    place = survey(lambda number: encoded(shadow), ["x"], Placement(size=16, least_share=1, most_share=1)).places[0]
    assert place is not None
    assert place.frame == Box(0, 0, 16, 16)
    assert place.box == Box(4, 4, 12, 12)
    faint = Image.new("RGBA", (8, 8), (0, 0, 0, 40))
    nothing = survey(lambda number: encoded(faint), ["x"], Placement(size=16)).places[0]
    assert nothing is not None
    assert nothing.box is None


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P"])
def test_other_modes_are_read(mode: str) -> None:
    picture = Image.new("L", (8, 8), 90).convert(mode)
    place = survey(lambda number: encoded(picture), ["x"], Placement(size=8, least_share=1, most_share=1)).places[0]
    assert place is not None
    assert place.box == Box(0, 0, 8, 8)


def test_what_cannot_be_used_says_why() -> None:
    empty = encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0)))
    wide = encoded(Image.new("RGBA", (300, 1), (255, 0, 0, 255)))
    grey = encoded(Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)))
    files = [encoded(cutout()), empty, wide, b"\x89PNG\r\n\x1a\n damaged", grey, encoded(cutout())[:-30]]
    surveyed = survey(files.__getitem__, list("abcdef"), Placement(), limits=DecodingLimits(max_pixels=1000))
    assert sorted(surveyed.refused) == [1, 2, 3, 4, 5]
    assert "fully transparent" in surveyed.refused[1]
    assert "max_aspect" in surveyed.refused[2]
    assert "damaged" in surveyed.refused[3]
    assert "more than 8 bits" in surveyed.refused[4]
    source = CutoutSource(content=files.__getitem__, surveyed=surveyed, backgrounds=(plain_background(),) * 2, size=224)
    assert source.read(1).size == (224, 224)
    for row in (2, 3):
        with pytest.raises(RejectedImageError, match="fully transparent"):
            source.read(row)
    assert source.content_hash(2) == source.content_hash(3) != source.content_hash(0)
    files[0] = encoded(cutout(width=20))
    with pytest.raises(RejectedImageError, match="has changed since"):
        source.read(0)


def test_backgrounds() -> None:
    pictures = np.stack([np.full((6, 9, 3), shade, dtype=np.uint8) for shade in (10, 20, 30)])
    drawn = background_images(load_images((pictures, np.zeros(3, dtype=np.int64))), seed=2)
    shades = [drawn(number).getpixel((0, 0))[0] for number in range(300)]  # type: ignore[index]
    assert set(shades) == {10, 20, 30}
    assert shades[17] == drawn(17).getpixel((0, 0))[0]  # type: ignore[index]
    assert min(shades.count(shade) for shade in (10, 20, 30)) > 70  # expected 100, standard deviation 8
    with pytest.raises(InputError, match=r"from 0 to 255; got \(0, 0, 256\)"):
        plain_background((0, 0, 256))
