"""Pictures of 16 bits: Pillow shows 8 of them, preparation and hashes see all."""

import copy
import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from snellen.core.deep_picture import DeepPicture, is_deep, join_pixels, pixel_bytes, stack_pixels, stored_values
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.metrics.inspection.fingerprints import pixel_hashes
from snellen.training.batches import ImageStore
from snellen.training.real_and_synthetic import pooled


def ramp(height: int = 16, width: int = 24, colour: bool = False) -> np.ndarray:
    """Neighbouring values differ by less than a byte's step of 257."""
    values = 30000 + 7 * np.arange(height * width, dtype=np.uint16).reshape(height, width)
    return np.stack([values, values + 1, values + 2], -1) if colour else values


@pytest.mark.parametrize("colour", [False, True])
def test_nothing_is_rounded_where_nothing_is_resized(colour):
    values = ramp(colour=colour)
    prepared = Preprocessing()(DeepPicture(values))
    expected = values if colour else np.repeat(values[..., None], 3, 2)
    assert torch.equal(
        (prepared * 65535).round().to(torch.int32), torch.from_numpy(expected.astype(np.int32)).permute(2, 0, 1)
    )


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", [("shorter", (8, 8)), ("longer", (12, 12)), ("exact", (40, 10))])
def test_it_is_resized_cut_and_padded_as_8_bits_are_without_their_rounding(interpolation, resize):
    pixels = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    preparation = Preprocessing(
        size=(12, 12), resize=resize[0], resize_to=resize[1], interpolation=interpolation, fill=(9, 80, 200)
    )
    plain, deep = preparation(Image.fromarray(pixels)), preparation(DeepPicture(pixels.astype(np.uint16) * 257))
    assert float((plain - deep).abs().max()) <= 1.5 / 255  # 8 bits are rounded once along each axis
    assert float((plain - deep).abs().mean()) < 0.4 / 255
    assert 0 <= float(deep.min()) <= float(deep.max()) <= 1


def test_grey_of_one_fill_is_that_of_three_channels():
    plain = Preprocessing(size=(40, 40), resize="shorter", resize_to=(20, 20))
    coloured = plain.model_copy(update={"fill": (0, 0, 1)})
    grey, three = plain(DeepPicture(ramp())), coloured(DeepPicture(ramp()))
    assert torch.equal(grey[:2], three[:2])
    assert grey.is_contiguous()


def test_resizing_keeps_steps_below_a_byte():
    found = Preprocessing(size=(8, 12), resize="exact", resize_to=(8, 12), interpolation="bilinear")(
        DeepPicture(ramp())
    )
    assert len(found[0].unique()) > 60
    assert len((found[0] * 255).round().unique()) <= 12


def test_pillow_shows_and_saves_8_bits_and_copies_keep_16():
    picture = DeepPicture(ramp())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    assert np.array_equal(np.asarray(Image.open(stream)), np.asarray(picture))
    assert np.array_equal(np.asarray(picture)[..., 0], np.rint(ramp() / 257))
    assert type(picture.resize((3, 3))) is Image.Image
    assert picture.convert("L").getpixel((0, 0)) == 117
    for same in (picture.copy(), picture.convert("RGB"), copy.deepcopy(picture)):
        assert same == picture


def test_the_array_of_the_caller_stays_writable_and_others_are_refused():
    values = ramp()
    picture = DeepPicture(values)
    values[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        picture.values[0, 0] = 1
    with pytest.raises(ValueError, match="takes uint16"):
        DeepPicture(values.astype(np.int32))


def test_hashes_see_all_bits_and_bytes_hash_as_ever():
    first, second = ramp(), ramp()
    second[3, 3] += 1  # far below a byte
    one, other = (torch.stack([Preprocessing()(DeepPicture(values))]) for values in (first, second))
    assert pixel_hashes(one) != pixel_hashes(other)
    assert stored_values(DeepPicture(first)) != stored_values(DeepPicture(second))
    whole = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8)
    assert pixel_hashes(whole) == pixel_hashes(to_unit(whole))
    assert pixel_bytes(whole)[0] == whole[0].numpy().tobytes()
    assert is_deep(torch.cat([to_unit(whole), one[:, :, :9, :9]])).tolist() == [False, False, True]


def test_a_batch_of_both_is_in_unit_range():
    whole = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    both = stack_pixels([whole, torch.full((3, 4, 4), 0.25)])
    assert both[:, 0, 0, 0].tolist() == [1.0, 0.25]
    assert stack_pixels([whole, whole]).dtype == torch.uint8
    assert join_pixels([whole[None], torch.full((1, 3, 4, 4), 0.25)])[:, 0, 0, 0].tolist() == [1.0, 0.25]


def test_bytes_stacked_with_16_bits_are_refused_and_not_taken_for_light():
    preparation = Preprocessing()
    mixed = [preparation.pixels(one) for one in (Image.new("RGB", (24, 16), (90, 90, 90)), DeepPicture(ramp()))]
    with pytest.raises(InputError, match=r"these floats reach 90.*stack_pixels"):
        to_unit(torch.stack(mixed))
    assert float(to_unit(stack_pixels(mixed)).amax()) < 0.6
    assert to_unit(torch.tensor([[255]])).item() == 1.0, "whole numbers are bytes"


def test_synthetic_bytes_join_real_images_of_16_bits_in_one_range():
    real = ImageStore.of_tensors(torch.full((2, 3, 4, 4), 0.25), torch.tensor([0, 1]))
    made = ImageStore.of_tensors(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8), torch.tensor([0, 1]))
    both, synthetic = pooled(real, made)
    assert both.images[:, 0, 0, 0].tolist() == [0.25, 0.25, 1.0, 1.0]
    assert synthetic.tolist() == [False, False, True, True]


@pytest.mark.parametrize("how", ["drawn", "pasted", "one pixel", "smaller"])
def test_what_is_changed_in_place_is_the_picture_that_is_shown(how):
    picture = DeepPicture(ramp())
    if how == "drawn":
        ImageDraw.Draw(picture).rectangle((0, 0, 23, 15), fill=(255, 0, 0))
    elif how == "pasted":
        picture.paste((255, 0, 0), (0, 0, 24, 16))
    elif how == "one pixel":
        picture.putpixel((0, 0), (255, 0, 0))
    else:
        picture.thumbnail((12, 8))
    assert type(picture) is Image.Image
    assert torch.equal(Preprocessing().pixels(picture), torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()))
    assert (float(Preprocessing()(picture)[0, 0, 0]) == 1.0) == (how != "smaller")
    assert picture.size == ((12, 8) if how == "smaller" else (24, 16))


def test_pixels_cannot_be_written_past_the_values():
    with pytest.raises(ValueError, match="readonly"):
        DeepPicture(ramp()).load()[0, 0] = (255, 0, 0)


def test_half_precision_of_bytes_is_not_deep():
    whole = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8)
    for kind in (torch.float16, torch.bfloat16):
        assert pixel_bytes(to_unit(whole).to(torch.float16)) == pixel_bytes(whole)
        assert not is_deep(to_unit(whole).to(kind)).any()
