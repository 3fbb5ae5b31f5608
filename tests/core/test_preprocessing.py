"""Preprocessing: bit for bit what torchvision and timm do, and a way back to the original."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from snellen.core.preprocessing import Placement, Preprocessing, to_image, to_unit

transforms = pytest.importorskip("torchvision.transforms")
timm_transforms = pytest.importorskip("timm.data.transforms")

side = st.integers(1, 80)
target = st.integers(1, 48)
pair = st.tuples(target, target)
resampling = st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def mode_of(interpolation):
    return transforms.InterpolationMode(interpolation)


def reference(image, *steps):
    return transforms.Compose([*steps, transforms.ToTensor()])(image)


# -- equality with the published pipelines ----------------------------------------------------------------------------


@given(width=side, height=side, edge=target, crop=pair, interpolation=resampling)
def test_equals_torchvisions_resize_and_centre_crop(width, height, edge, crop, interpolation):
    image = noise(width, height)
    preparation = Preprocessing(size=crop, resize="shorter", resize_to=(edge, edge), interpolation=interpolation)
    expected = reference(image, transforms.Resize(edge, mode_of(interpolation)), transforms.CenterCrop(crop))
    assert torch.equal(preparation(image), expected)


@given(width=side, height=side, crop=st.tuples(side, side))
def test_equals_torchvisions_centre_crop_and_padding_alone(width, height, crop):
    image = noise(width, height)
    assert torch.equal(Preprocessing(size=crop)(image), reference(image, transforms.CenterCrop(crop)))


@given(width=side, height=side, to=pair, crop=pair, interpolation=resampling)
def test_exact_equals_torchvisions_resize_to_both_sides(width, height, to, crop, interpolation):
    image = noise(width, height)
    preparation = Preprocessing(size=crop, resize="exact", resize_to=to, interpolation=interpolation)
    expected = reference(image, transforms.Resize(to, mode_of(interpolation)), transforms.CenterCrop(crop))
    assert torch.equal(preparation(image), expected)


@pytest.mark.parametrize(("resize", "longest"), [("longer", 1.0), ("shorter", 0.0)])
@given(width=side, height=side, to=pair, crop=pair, fill=st.tuples(*[st.integers(0, 255)] * 3))
def test_equals_timms_resize_keeping_the_ratio_and_crop_or_pad(resize, longest, width, height, to, crop, fill):
    # For square targets of the shorter side, timm uses torchvision's rounding: the first test above.
    assume(resize == "longer" or to[0] != to[1])
    ratio = (max if resize == "longer" else min)(height / to[0], width / to[1])
    assume(round(height / ratio) >= 1 and round(width / ratio) >= 1)  # timm fails on an empty side
    image = noise(width, height)
    preparation = Preprocessing(size=crop, resize=resize, resize_to=to, interpolation="bicubic", fill=fill)
    expected = reference(
        image,
        timm_transforms.ResizeKeepRatio(to, longest=longest, interpolation="bicubic"),
        timm_transforms.CenterCropOrPad(crop, fill=fill),
    )
    assert torch.equal(preparation(image), expected)


def test_a_side_never_vanishes():
    assert Preprocessing(resize="longer", resize_to=(10, 10))(noise(1, 80)).shape == (3, 10, 1)
    assert Preprocessing(resize="longer", resize_to=(10, 10))(noise(80, 1)).shape == (3, 1, 10)
    assert Preprocessing(resize="shorter", resize_to=(1, 2))(noise(2, 1)).shape == (3, 1, 2)


@given(width=side, height=side)
def test_without_anything_to_do_the_pixels_are_the_images(width, height):
    image = noise(width, height)
    before = image.tobytes()
    pixels = Preprocessing().pixels(image)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert pixels.permute(1, 2, 0).numpy().tobytes() == before == image.tobytes()
    assert torch.equal(Preprocessing()(image), to_unit(pixels))


# -- modes of images --------------------------------------------------------------------------------------------------


def in_mode(mode):
    colours = noise(9, 7)
    if mode == "I;16":
        values = np.random.default_rng(1).integers(0, 2**16, (7, 9)).astype(np.uint16)
        return Image.fromarray(values)
    return colours.convert(mode)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK", "YCbCr", "I", "F", "I;16", "RGB"])
def test_every_mode_is_converted_as_pillow_does(mode):
    image = in_mode(mode)
    assert image.mode == mode
    preparation = Preprocessing(size=(5, 5), resize="shorter", resize_to=(6, 6), interpolation="bicubic")
    assert torch.equal(preparation(image), preparation(image.convert("RGB")))
    assert preparation(image).shape == (3, 5, 5)


def test_what_conversion_means_for_the_common_modes():
    grey = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    assert Preprocessing().pixels(grey).tolist() == [[[0, 128, 255]]] * 3
    translucent = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert Preprocessing().pixels(translucent).flatten().tolist() == [10, 20, 30], "alpha is dropped, not blended"
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 7, 8, 9])
    assert Preprocessing().pixels(palette).flatten().tolist() == [7, 8, 9]
    bilevel = Image.new("1", (1, 1), 1)
    assert Preprocessing().pixels(bilevel).flatten().tolist() == [255, 255, 255]


# -- the way back -----------------------------------------------------------------------------------------------------

scaling = st.builds(
    Preprocessing,
    size=st.none() | pair,
    resize=st.sampled_from(["shorter", "longer", "exact"]),
    resize_to=pair,
    fill=st.just((0, 0, 255)),
)
any_preparation = st.builds(Preprocessing, size=st.none() | pair) | scaling


@given(preparation=any_preparation, width=side, height=side, point=st.tuples(st.floats(-99, 99), st.floats(-99, 99)))
def test_placement_round_trip(preparation, width, height, point):
    placement = preparation.placement(width, height)
    assert placement.to_original(*placement.to_prepared(*point)) == pytest.approx(point, abs=1e-6)
    assert placement.to_prepared(*placement.to_original(*point)) == pytest.approx(point, abs=1e-6)


def test_placement_of_the_corners():
    shrunk = Preprocessing(resize="exact", resize_to=(10, 40)).placement(20, 100)
    assert shrunk == Placement(scale=(2.0, 0.1), offset=(0.0, 0.0))
    assert shrunk.to_original(40, 10) == (20, 100)
    cut = Preprocessing(size=(4, 4), resize="shorter", resize_to=(8, 8)).placement(16, 32)
    assert (cut.to_original(0, 0), cut.to_original(4, 4)) == ((4, 12), (12, 20))
    padded = Preprocessing(size=(5, 6)).placement(2, 2)
    assert padded.to_original(0, 0) == (-2, -1), "padding lies outside the original"
    assert padded.to_original(6, 5) == (4, 4)


@given(width=side, height=side, crop=pair)
def test_without_scaling_every_pixel_is_found_where_placement_says(width, height, crop):
    rows, columns = np.mgrid[:height, :width]
    painted = Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], -1).astype(np.uint8))
    preparation = Preprocessing(size=crop, fill=(0, 0, 255))
    pixels, placement = preparation.pixels(painted), preparation.placement(width, height)
    for row in range(crop[0]):
        for column in range(crop[1]):
            x, y = placement.to_original(column, row)
            inside = 0 <= x < width and 0 <= y < height
            assert pixels[:, row, column].tolist() == ([x, y, 0] if inside else [0, 0, 255])


@given(preparation=scaling, width=st.integers(2, 120), height=st.integers(2, 120))
def test_with_scaling_every_pixel_is_found_where_placement_says(preparation, width, height):
    """Red tells the column and green the row: a symmetric filter keeps such ramps wherever it sees no border."""
    rows, columns = np.mgrid[:height, :width]
    painted = Image.fromarray(np.stack([2 * columns, 2 * rows, np.zeros_like(rows)], -1).astype(np.uint8))
    prepared, placement = preparation.pixels(painted).double(), preparation.placement(width, height)
    for axis, length in enumerate((width, height)):
        reach = max(1.0, 1 / placement.scale[axis]) + 0.5  # of the bilinear filter, in pixels of the original
        lines = prepared.movedim(2 - axis, 0)  # one for each position along the axis: (3, other positions)
        for position, line in enumerate(lines):
            original = placement.to_original(position + 0.5, position + 0.5)[axis]
            values = line[axis][line[2] == 0]  # without padding
            if reach <= original <= length - reach:
                assert ((values - 2 * (original - 0.5)).abs() <= 1.0).all()
            elif not 0 <= original <= length:
                assert not len(values)


def test_a_marker_in_the_original_is_found_where_placement_says():
    pixels = np.zeros((300, 200, 3), dtype=np.uint8)
    pixels[140:160, 60:90] = 255
    preparation = Preprocessing(size=(64, 64), resize="shorter", resize_to=(72, 72), interpolation="bicubic")
    light = preparation(Image.fromarray(pixels)).sum(0).double()
    rows, columns = torch.meshgrid(*(torch.arange(64) + 0.5,) * 2, indexing="ij")
    centre = [float((light * axis).sum() / light.sum()) for axis in (columns, rows)]
    assert preparation.placement(200, 300).to_original(*centre) == pytest.approx((75, 150), abs=0.5)


# -- bytes and unit range ---------------------------------------------------------------------------------------------


def test_all_bytes_survive_the_round_trip_and_equal_torchvisions():
    every = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    unit = to_unit(every)
    assert unit.dtype == torch.float32
    assert (float(unit.min()), float(unit.max())) == (0.0, 1.0)
    assert torch.equal(unit, transforms.ToTensor()(to_image(every)))
    assert torch.equal(Preprocessing().pixels(to_image(unit)), every)
    assert torch.equal(Preprocessing().pixels(to_image(every)), every)


def test_to_image_rounds_to_the_nearest_byte_and_clamps():
    values = torch.tensor([0.4 / 255, 0.6 / 255, -0.2, 1.2]).repeat(3, 1, 1).requires_grad_(True)
    image = to_image(values)
    assert image.mode == "RGB"
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 0, 255]


def test_parameters_are_validated():
    for wrong in (
        {"resize": "shorter"},
        {"resize_to": (8, 8)},
        {"resize": "largest", "resize_to": (8, 8)},
        {"interpolation": "cubic"},
        {"size": (8,)},
        {"crop": (8, 8)},
    ):
        with pytest.raises(ValidationError):
            Preprocessing(**wrong)
