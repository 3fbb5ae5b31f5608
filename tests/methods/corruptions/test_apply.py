"""What happens around every operator: which draw, grey images, fading in, bytes, textures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt, is_grey, luminance, settle_channels, stay_grey
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.noise import gaussian_noise, impulse_noise
from snellen.methods.corruptions.weather import snow

COMMON, CHEST, BLOOD = benchmark("imagenet-c"), benchmark("chestmnist"), benchmark("bloodmnist")


def random_images(count=2, height=32, width=40):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def grey_beside_coloured():
    images = random_images(3)
    images[1] = images[1, :1]
    return images


def with_spy(chosen, kind):
    """The benchmark with an operator that does nothing but note what it was called with."""
    calls = []

    def spy(images, rng, **keywords):
        calls.append((rng, keywords))
        return images.clone()

    operators = {**chosen.operators, kind: replace(chosen.operators[kind], function=spy)}
    return replace(chosen, operators=operators), calls


def test_luminance_has_pillows_weights():
    images = random_images(1, 64, 64)
    red, green, blue = images[0]
    expected = (19595 * red + 38470 * green + 7471 * blue) / 65536
    assert torch.allclose(luminance(images), expected.expand(1, 3, -1, -1), atol=1e-6)
    assert torch.allclose(
        luminance(torch.eye(3).view(3, 3, 1, 1))[:, 0, 0, 0], torch.tensor([0.299, 0.587, 0.114]), atol=1e-5
    )


def test_luminance_of_bytes_is_pillows():
    steps = torch.arange(0, 256, 3, dtype=torch.uint8)
    for red in range(256):
        pixels = torch.stack(torch.meshgrid(torch.tensor([red], dtype=torch.uint8), steps, steps, indexing="ij"))[:, 0]
        expected = np.asarray(Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L"))
        ours = luminance(pixels[None] / 255, parity=True)
        assert np.array_equal((ours[0, 0] * 255).round().byte().numpy(), expected)
        assert torch.equal(ours[:, 1:], ours[:, :1].expand(-1, 2, -1, -1))
    cut = luminance(torch.full((1, 3, 1, 1), 0.9999), parity=True)
    assert float(cut[0, 0, 0, 0]) == pytest.approx(254 / 255), "values are cut to bytes, not rounded"


def test_which_images_are_grey():
    assert is_grey(grey_beside_coloured()).tolist() == [False, True, False]
    one_pixel = torch.full((1, 3, 5, 5), 0.5)
    one_pixel[0, 2, 4, 4] += 1e-6
    assert is_grey(one_pixel).tolist() == [False]
    assert is_grey(random_images(0)).tolist() == []
    # One value of colour anywhere, on the rows and columns that are searched first or not.
    for row, column in ((0, 0), (8, 3), (5, 7), (31, 39)):
        hidden = random_images(2)[:, :1].repeat(1, 3, 1, 1)
        hidden[1, 2, row, column] += 0.5
        assert is_grey(hidden).tolist() == [True, False]


def test_only_grey_images_are_replaced():
    images, changed = grey_beside_coloured(), random_images(3).flip(0)
    for grey in (torch.zeros(3, 1, 32, 40), torch.zeros(3, 3, 32, 40)):
        kept = stay_grey(changed, images, grey)
        assert torch.equal(kept[[0, 2]], changed[[0, 2]])
        assert not kept[1].any()
    assert stay_grey(changed, random_images(3), torch.zeros(3, 1, 32, 40)) is changed


def test_noise_of_grey_images_is_drawn_once_for_all_channels():
    images, rng = grey_beside_coloured(), Randomness(4).for_examples("abc")
    raw = gaussian_noise(images, rng.child("gaussian_noise"), deviation=0.04)
    changed = corrupt(images, COMMON, "gaussian_noise", 1, rng)
    assert torch.equal(changed[[0, 2]], raw[[0, 2]])
    assert torch.equal(changed[1], raw[1, :1].expand(3, -1, -1))
    grey = torch.full((1, 3, 200, 200), 0.5)
    noise = (corrupt(grey, COMMON, "gaussian_noise", 1, Randomness(0).bind(1)) - grey).mean(1)
    assert float(noise.std()) == pytest.approx(0.08, rel=0.02), (
        "a model that averages channels sees the stated deviation"
    )


@pytest.mark.parametrize("side", [28, 90])
@pytest.mark.parametrize("kind", [kind for kind in COMMON.kinds if COMMON.operator(kind).channelwise])
def test_one_channel_of_grey_images_is_as_good_as_three(kind, side):
    images = random_images(5, side, side)
    images[[1, 2, 4]] = images[[1, 2, 4], :1]
    rng, operator = Randomness(0).bind(5), COMMON.operator(kind)
    changed = corrupt(images, COMMON, kind, 3, rng)
    raw = operator.function(images, rng.child(kind), **COMMON.strength(kind, 3, side, side).values)
    assert torch.allclose(changed[[0, 3]], raw[[0, 3]], atol=1e-6)
    assert is_grey(changed).tolist() == [False, True, True, False, True]
    assert torch.allclose(changed[[1, 2, 4]], raw[[1, 2, 4], :1].expand(3, 3, side, side), atol=1e-6)
    alone = corrupt(images[[1, 2]], COMMON, kind, 3, rng[[1, 2]])
    assert torch.allclose(alone, changed[[1, 2]], atol=1e-6)
    assert alone.is_contiguous()


def test_colour_that_a_kind_brings_is_turned_to_luminance():
    images, rng = grey_beside_coloured(), Randomness(0).bind(3)
    operator, values = COMMON.operator("spatter"), COMMON.strength("spatter", 4, 32, 40).values
    raw = operator.function(images, rng.child("spatter"), **values)
    assert not is_grey(raw)[1]
    changed = corrupt(images, COMMON, "spatter", 4, rng)
    assert torch.equal(changed[[0, 2]], raw[[0, 2]])
    assert torch.equal(changed[1], luminance(raw)[1])


def test_parity_treats_grey_images_as_coloured_ones():
    images, rng = torch.full((1, 3, 32, 32), 128 / 255), Randomness(0).bind(1)
    published = corrupt(images, COMMON, "gaussian_noise", 1, rng, parity=True)
    noisy = gaussian_noise(images, rng.child("gaussian_noise"), deviation=0.04)
    assert torch.equal(published, torch.floor(noisy * 255 + 1e-4) / 255)
    assert not is_grey(published)


@pytest.mark.covers("37.2")
def test_grey_sets_are_corrupted_in_colour_and_turned_back():
    images, rng = torch.full((2, 3, 64, 64), 100 / 255), Randomness(0).bind(2)
    raw = gaussian_noise(images, rng.child("gaussian_noise"), deviation=0.12)
    changed = corrupt(images, CHEST, "gaussian_noise", 3, rng)
    assert torch.equal(changed, luminance(raw))
    share = float((changed - images)[:, 0].std()) / 0.12
    assert share == pytest.approx((0.299**2 + 0.587**2 + 0.114**2) ** 0.5, rel=0.02), "0.67: channels are averaged"
    published = corrupt(images, CHEST, "gaussian_noise", 3, rng, parity=True)
    pixels = torch.floor(raw * 255 + 1e-4).byte()
    for row in range(2):
        expected = np.asarray(Image.fromarray(pixels[row].permute(1, 2, 0).numpy()).convert("L"))
        assert np.array_equal((published[row, 0] * 255).round().byte().numpy(), expected)


def test_parity_cuts_to_bytes_and_keeps_bytes():
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    for chosen in (BLOOD, CHEST, COMMON):
        operator = chosen.operator("jpeg_compression")
        assert torch.equal(settle_channels(levels, levels, chosen, operator, parity=True), levels)
        between = settle_channels((levels + 0.9 / 255).clamp(max=1), levels, chosen, operator, parity=True)
        assert torch.equal(between, levels)
    free = settle_channels(levels * 0.999, levels, BLOOD, BLOOD.operator("jpeg_compression"))
    assert torch.allclose(free, levels * 0.999, atol=1e-6)
    assert not torch.equal(free, torch.floor(free * 255) / 255)


@pytest.mark.parametrize("severity", [0.25, 0.8])
def test_severities_below_one_are_a_mixture_where_nothing_else_fades(severity):
    images, rng = random_images(), Randomness(0).bind(2)
    first = snow(images, rng.child("snow"), **COMMON.strength("snow", 1, 32, 40).values)
    assert torch.equal(corrupt(images, COMMON, "snow", 1, rng), first)
    expected = images + severity * (first - images)
    assert torch.allclose(corrupt(images, COMMON, "snow", severity, rng), expected, atol=1e-6)
    salted = impulse_noise(images, rng.child("impulse_noise"), share=0.01 * severity)
    assert torch.equal(corrupt(images, COMMON, "impulse_noise", severity, rng), salted)


def test_an_operator_gets_its_parameters_and_the_draws_of_its_kind():
    images, rng = random_images(), Randomness(3).for_examples("ab")
    spied, calls = with_spy(BLOOD, "contrast_up")
    corrupt(images, spied, "contrast_up", 1.5, rng)
    assert calls == [(rng.child("contrast_up"), {"factor": pytest.approx(1.125)})]
    spied, calls = with_spy(benchmark("dermamnist"), "black_corner")
    for strict in (False, True):
        corrupt(images, spied, "black_corner", 4, rng, strict=strict)
    assert [keywords["radius"] for _, keywords in calls] == [0.9, 0.95]


def test_randomness_without_ids_names_examples_by_position():
    images = random_images()
    named = corrupt(images, COMMON, "gaussian_noise", 2, Randomness(0).for_examples("01"))
    assert torch.equal(corrupt(images, COMMON, "gaussian_noise", 2, Randomness(0)), named)


def test_textures_go_to_frost_and_stains_alone():
    textures, takers = (torch.rand(3, 9, 9),), set()
    for chosen in (COMMON, BLOOD, benchmark("dermamnist"), CHEST):
        for kind in chosen.kinds:
            spied, calls = with_spy(chosen, kind)
            corrupt(random_images(), spied, kind, 2, Randomness(0), textures=textures)
            if "textures" in calls[0][1]:
                assert calls[0][1]["textures"] is textures
                takers.add(kind)
            for none in (None, ()):
                corrupt(random_images(), spied, kind, 2, Randomness(0), textures=none)
            assert not any("textures" in keywords for _, keywords in calls[1:])
    assert takers == {"frost", "stain_deposit"}


@pytest.mark.parametrize(("chosen", "kind"), [(COMMON, "frost"), (BLOOD, "stain_deposit")])
def test_textures_change_the_result(chosen, kind):
    images = random_images(1, 96, 96)
    own = corrupt(images, chosen, kind, 3, Randomness(0))
    dark, light = (
        corrupt(images, chosen, kind, 3, Randomness(0), textures=(torch.full((3, 96, 96), v),)) for v in (0.0, 1.0)
    )
    assert not torch.equal(own, dark)
    assert not torch.equal(dark, light)


def test_severity_zero_is_the_very_same_tensor_but_still_checked():
    images = random_images()
    assert corrupt(images, COMMON, "frost", 0, Randomness(0)) is images
    assert corrupt(images, CHEST, "pixelate", 0.0, Randomness(0), parity=True) is images
    with pytest.raises(UnknownNameError, match="did you mean 'frost'"):
        corrupt(images, COMMON, "frots", 0, Randomness(0))
    with pytest.raises(InputError, match=r"must lie in \[0, 5\], got 5.5"):
        corrupt(images, COMMON, "frost", 5.5, Randomness(0))
    with pytest.raises(ValueError, match="bound to 3 examples, but 2 images came"):
        corrupt(images, COMMON, "frost", 1, Randomness(0).bind(3))
