"""The decoder: what it accepts is decoded as torchvision and timm do; everything else is rejected with a reason."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from snellen.core.deep_picture import DeepPicture
from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.costly_structure import (
    MAX_BLOCKS,
    MAX_CHUNKS,
    MAX_NUMBERS,
    MAX_PIXEL_CHUNKS,
    MAX_PPM_HEADER,
    MAX_SCANS,
    MAX_SEGMENTS,
    refuse_costly,
)
from snellen.data.files.decoding import FORMATS, DecodingLimits, decode
from tests.hostile.pictures import (
    NOISE,
    ODD,
    REJECTED,
    animated,
    chunk,
    cuts,
    encode,
    gif_with,
    jpeg_of_scans,
    jpeg_with,
    png_with,
    segment,
    tiff_of,
)


def same(content: bytes) -> None:
    """Decoded as the loaders of torchvision and timm do: Image.open(...).convert("RGB")."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Image.open(io.BytesIO(content)).convert("RGB")
    found = decode(content)
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_every_format_as_the_usual_loaders(kind: str) -> None:
    same(encode(Image.fromarray(NOISE), kind))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("L", "PPM")],
)
def test_every_mode_of_eight_bits_as_the_usual_loaders(mode: str, kind: str) -> None:
    same(encode(Image.fromarray(NOISE).convert(mode), kind))


def test_alpha_is_dropped_not_blended() -> None:
    content = encode(Image.new("RGBA", (2, 2), (200, 100, 50, 0)), "PNG")
    assert decode(content).getpixel((0, 0)) == (200, 100, 50)


def test_palette_with_transparency_in_bytes_is_read_without_a_warning() -> None:
    content = encode(Image.fromarray(NOISE).convert("P"), "PNG", transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="Palette images with Transparency"):
        Image.open(io.BytesIO(content)).convert("RGB")
    same(content)


def test_exif_rotation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    same(encode(Image.fromarray(NOISE), "JPEG", exif=exif))
    assert decode(encode(Image.fromarray(NOISE), "JPEG", exif=exif)).size == (7, 9)


def test_the_rotation_of_a_tiff_is_applied_as_by_the_usual_loaders() -> None:
    content = encode(Image.fromarray(NOISE), "TIFF", tiffinfo={0x0112: 6})
    same(content)
    assert decode(content).size == (9, 7)


def test_jpeg_with_further_pictures_behind_is_the_jpeg_it_begins_with() -> None:
    content = encode(Image.fromarray(NOISE), "MPO", save_all=True, append_images=[Image.new("RGB", (7, 9))])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    same(content)


# -- grey of sixteen bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_with_rounding(kind: str) -> None:
    values = np.array([[0, 128, 129, 32767, 65406, 65407, 65535]], dtype=np.uint16)
    found = np.asarray(decode(encode(Image.fromarray(values), kind)))
    expected = [0, 0, 1, 127, 254, 255, 255]  # v / 257, to the nearest
    assert found[0, :, 0].tolist() == expected
    assert (found == found[..., :1]).all()


def test_sixteen_bit_grey_map_is_read_too() -> None:
    content = b"P5 3 1 65535\n" + np.array([0, 257, 65535], dtype=">u2").tobytes()
    assert np.asarray(decode(content))[0, :, 0].tolist() == [0, 1, 255]


def test_declared_range_is_used_and_values_outside_it_are_rejected() -> None:
    content = encode(Image.fromarray(np.array([[100, 2148, 4195]], dtype=np.uint16)), "PNG")
    assert np.asarray(decode(content, grey_range=(100, 4195)))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(RejectedImageError, match="100 to 4195 lie outside the declared range 0 to 4095"):
        decode(content, grey_range=(0, 4095))
    with pytest.raises(InputError, match="lower to a higher"):
        decode(content, grey_range=(5, 5))


def test_signed_grey_is_scaled_from_its_range() -> None:
    content = encode(Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32)), "TIFF")
    assert np.asarray(decode(content, grey_range=(-1000, 1000)))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(RejectedImageError, match="outside the declared range"):
        decode(content)


def test_eight_bit_grey_ignores_the_range() -> None:
    assert decode(encode(Image.new("L", (2, 2), 200), "PNG"), grey_range=(0, 4095)).getpixel((0, 0)) == (200,) * 3


# -- what is rejected --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", REJECTED)
def test_rejected_with_a_short_reason(case: str) -> None:
    make, reason = REJECTED[case]
    with pytest.raises(RejectedImageError, match=reason) as caught:
        decode(make())
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ODD)
def test_odd_pictures_are_read_as_by_the_usual_loaders(case: str) -> None:
    content = ODD[case]()
    if "sixteen" in case:
        assert decode(content).mode == "RGB"
    else:
        same(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF"])
def test_pictures_cut_at_a_boundary_are_rejected(kind: str) -> None:
    found = list(cuts(kind))
    assert len(found) > 1
    for _, content in found:
        with pytest.raises(RejectedImageError):
            decode(content)


def test_structure_that_a_good_picture_has_too_is_no_reason() -> None:
    scans = jpeg_of_scans(MAX_SCANS - jpeg_of_scans(0).count(b"\xff\xda"))
    assert scans.count(b"\xff\xda") == MAX_SCANS
    same(scans)
    segments = jpeg_with(segment(0xFE, b"") * (MAX_SEGMENTS - before_pixels(jpeg_with(b""))))
    same(segments)
    assert before_pixels(segments) == MAX_SEGMENTS
    blocks = gif_with(b"\x21\xfe" + b"\1c" * (MAX_BLOCKS - 10) + b"\0")
    same(blocks)
    numbers = tiff_of(8, 8, counts=MAX_NUMBERS) + bytes(4 * MAX_NUMBERS)
    refuse_costly(numbers)  # decoding takes seconds
    refuse_costly(png_with(chunk(b"IDAT", b"") * (MAX_PIXEL_CHUNKS - 1)))
    whole = png_with(chunk(b"tEXt", b"k\0v") * (MAX_CHUNKS - 1))  # beside the header
    assert decode(whole).size == (7, 9)
    for comment in (MAX_PPM_HEADER - 20, MAX_PPM_HEADER):
        content = b"P6 #" + b"x" * comment + b"\n2 1\n255\n" + bytes(6)
        if comment < MAX_PPM_HEADER - 10:
            assert decode(content).size == (2, 1)
        else:
            with pytest.raises(RejectedImageError, match="header of the PPM"):
                decode(content)


def before_pixels(content: bytes) -> int:
    """Segments of a JPEG up to its first scan, in which no pair of bytes looks like a marker."""
    start = content[: content.index(b"\xff\xda") + 2]
    return start.count(b"\xff") - 1


def test_what_costs_much_is_refused_at_once() -> None:
    """Pillow copies all of EXIF with each part: this would take hours."""
    content = jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(8)) * 10**6)
    with pytest.raises(RejectedImageError, match="segments"):
        decode(content)


def test_too_many_bytes_are_not_looked_at() -> None:
    content = encode(Image.fromarray(NOISE), "PNG")
    with pytest.raises(RejectedImageError, match=f"{len(content)} bytes, more than {len(content) - 1}"):
        decode(content, limits=DecodingLimits(max_bytes=len(content) - 1))
    assert decode(content, limits=DecodingLimits(max_bytes=len(content))).size == (7, 9)


def test_shortest_edge_is_a_limit() -> None:
    content = encode(Image.fromarray(NOISE), "PNG")
    with pytest.raises(RejectedImageError, match="7×9 pixels: an edge is shorter than 8"):
        decode(content, limits=DecodingLimits(min_edge=8))


def test_limits_are_inclusive() -> None:
    assert decode(encode(Image.new("L", (200, 1)), "PNG")).size == (200, 1)
    assert decode(encode(Image.new("L", (10, 10)), "PNG"), limits=DecodingLimits(max_pixels=100)).size == (10, 10)
    with pytest.raises(RejectedImageError, match="more than 99"):
        decode(encode(Image.new("L", (10, 10)), "PNG"), limits=DecodingLimits(max_pixels=99))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_on_request(kind: str) -> None:
    red, green, blue = decode(animated(kind), limits=DecodingLimits(first_frame=True)).getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


def test_limits_are_frozen_and_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DecodingLimits().max_bytes = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="greater than or equal"):
        DecodingLimits(max_pixels=0)


def test_no_setting_of_pillow_is_changed_and_no_warning_escapes() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    for make, _ in REJECTED.values():
        with pytest.raises(RejectedImageError):
            decode(make())
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


SEEDS = [encode(Image.fromarray(NOISE), kind) for kind in FORMATS] + [animated(kind) for kind in ("GIF", "PNG", "TIFF")]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=12),
    st.integers(0, 64),
)
def test_damaged_files_are_decoded_or_rejected_never_anything_else(
    content: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        image = decode(bytes(damaged[: len(damaged) - cut]), limits=DecodingLimits(max_pixels=100_000))
    except RejectedImageError:
        return
    assert image.mode == "RGB"


# -- colour of 16 bits ------------------------------------------------------------------------------------------------


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: (h, w, 3 or 4)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF of 16 bits a channel, of either order of bytes."""
    height, width, _ = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    end = 8 + 2 + 12 * 9 + 4
    longs = {256: width, 257: height, 273: end + 6, 278: height, 279: len(pixels)}
    shorts = {259: 1, 262: 2, 277: 3}
    entries = [(tag, 4, 1, struct.pack(f"{order}I", value)) for tag, value in longs.items()]
    entries += [(tag, 3, 1, struct.pack(f"{order}HH", value, 0)) for tag, value in shorts.items()]
    entries.append((258, 3, 3, struct.pack(f"{order}I", end)))
    listed = b"".join(struct.pack(f"{order}HHI", *one[:3]) + one[3] for one in sorted(entries))
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return start + struct.pack(f"{order}H", 9) + listed + bytes(4) + struct.pack(f"{order}HHH", 16, 16, 16) + pixels


@pytest.mark.parametrize("form", ["png", "png with alpha", "tiff <", "tiff >"])
def test_colour_of_16_bits_keeps_both_bytes(form):
    values = np.random.default_rng(0).integers(0, 65536, (7, 5, 4 if "alpha" in form else 3)).astype(np.uint16)
    picture = decode(deep_png(values) if "png" in form else deep_tiff(values, form[-1]))
    assert isinstance(picture, DeepPicture)
    assert np.array_equal(picture.values, values[..., :3])


def test_a_torn_file_of_16_bits_is_refused_as_others_are():
    values = np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    with pytest.raises(RejectedImageError):
        decode(deep_tiff(values, "<")[:-2000])
    with pytest.raises(RejectedImageError):
        decode(deep_png(values)[:-3000])


@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_colour_of_16_bits_is_read_in_either_order_of_bytes(order: str) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="rgb", compression="zlib", byteorder=order)
    picture = decode(stream.getvalue())
    assert isinstance(picture, DeepPicture)
    assert np.array_equal(picture.values, values)
