"""Severity as a continuous quantity between published anchors."""

import math
from dataclasses import replace

import pytest

from snellen.core.errors import InputError
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import Operator, Parameter, Table, check_severity, strength

#: Severities 1 to 5 as in the authors' scripts make_imagenet_c.py and make_cifar_c.py, parameters in their order; of
#: zoom blur, end and step of the range of factors.
IMAGENET_C = {
    "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
    "shot_noise": [60, 25, 12, 5, 3],
    "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],
    "speckle_noise": [0.15, 0.2, 0.35, 0.45, 0.6],
    "gaussian_blur": [1, 2, 3, 4, 6],
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "zoom_blur": [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "spatter": [
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ],
    "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
    "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],
    "saturate": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    "jpeg_compression": [25, 18, 15, 10, 7],
    "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],
    "elastic_transform": [
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    ],
}
CIFAR_10_C = {
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "shot_noise": [500, 250, 100, 75, 50],
    "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
    "speckle_noise": [0.06, 0.1, 0.12, 0.16, 0.2],
    "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1],
    "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "zoom_blur": [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "spatter": [
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "saturate": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
    "jpeg_compression": [80, 65, 58, 50, 40],
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
    "elastic_transform": [
        (32 * 0, 32 * 0, 32 * 0.08),
        (32 * 0.05, 32 * 0.2, 32 * 0.07),
        (32 * 0.08, 32 * 0.06, 32 * 0.06),
        (32 * 0.1, 32 * 0.04, 32 * 0.05),
        (32 * 0.1, 32 * 0.03, 32 * 0.03),
    ],
}


def operator(**parameters):
    return Operator(lambda images, rng, **values: images, parameters)


def table(*columns, **options):
    return Table(224, dict(zip("ab", columns, strict=False)), **options)


@pytest.mark.parametrize("kind", IMAGENET_C)
@pytest.mark.parametrize(("side", "published"), [(224, IMAGENET_C), (32, CIFAR_10_C)])
def test_anchors_are_the_published_values(kind, side, published):
    chosen = benchmark("imagenet-c")
    assert set(chosen.kinds) == set(IMAGENET_C) == set(CIFAR_10_C)
    for severity, expected in enumerate(published[kind], start=1):
        found = chosen.strength(kind, severity, side, side)
        values = expected if isinstance(expected, tuple) else (expected,)
        assert tuple(found.values) == tuple(chosen.operator(kind).parameters)
        assert tuple(found.values.values()) == pytest.approx(values, rel=1e-12)
        assert found.published == (kind not in {"frost", "glass_blur"}), "our own frost; a fault of glass blur mended"
        as_published = chosen.strength(kind, severity, side, side, parity=True)
        assert as_published == replace(found, published=kind != "frost")
        assert found.mixture == 1


def test_between_anchors_and_below_the_first_it_is_linear():
    steps = operator(a=Parameter(0.0), b=Parameter(1.0))
    five = table((2, 3, 5, 6, 8), (0.5, 0.4, 0.3, 0.2, 0.1))
    for severity, a, b in ((0, 0, 1), (0.25, 0.5, 0.875), (1, 2, 0.5), (2.5, 4, 0.35), (4.75, 7.5, 0.125), (5, 8, 0.1)):
        values = strength(five, steps, severity, 224).values
        assert (values["a"], values["b"]) == pytest.approx((a, b))


def test_reciprocals_are_linear_where_the_change_grows_with_them():
    photons = operator(a=Parameter(math.inf, reciprocal=True))
    five = table((60, 25, 12, 5, 3))
    for severity, value in ((0, math.inf), (0.25, 240), (0.5, 120), (1, 60), (1.5, 2 / (1 / 60 + 1 / 25)), (5, 3)):
        assert strength(five, photons, severity, 224).values["a"] == pytest.approx(value)


def test_anchors_are_free_of_rounding():
    tenths = operator(a=Parameter(0.3, reciprocal=True, pixels=True))
    found = [strength(table((0.1, 0.2, 0.3, 0.6, 0.7)), tenths, severity, 224).values["a"] for severity in range(6)]
    assert found == [0.3, 0.1, 0.2, 0.3, 0.6, 0.7]


def test_what_has_no_identity_is_held_below_the_first_severity_and_does_not_fade():
    held = operator(a=Parameter(0.0), b=Parameter())
    five = table((2, 3, 5, 6, 8), (7, 9, 11, 13, 15))
    for severity, a in ((0, 0), (0.5, 1), (1, 2)):
        found = strength(five, held, severity, 224)
        assert (found.values["a"], found.values["b"], found.mixture) == (a, 7, 1)
    assert strength(five, held, 1.5, 224).values["b"] == 8


def test_without_any_identity_the_first_severity_fades_in():
    held = operator(a=Parameter(), b=Parameter(pixels=True))
    five = table((2, 3, 5, 6, 8), (7, 9, 11, 13, 15))
    for severity, mixture in ((0, 0), (0.01, 0.01), (0.7, 0.7), (1, 1), (1.2, 1), (5, 1)):
        assert strength(five, held, severity, 224).mixture == mixture
    assert strength(five, held, 0.3, 112).values == {"a": 2, "b": 3.5}
    assert {kind for kind in IMAGENET_C if benchmark("imagenet-c").operator(kind).fades} == {"snow", "spatter"}


def test_lengths_grow_with_the_shorter_side_and_nothing_else_does():
    chosen = benchmark("imagenet-c")
    assert chosen.strength("gaussian_blur", 2, 448, 448).values["deviation"] == pytest.approx(4.0)
    assert chosen.strength("gaussian_noise", 2, 448, 448).values["deviation"] == 0.12
    assert chosen.strength("gaussian_blur", 5, 28, 28).values["deviation"] == pytest.approx(28 / 32)
    assert chosen.strength("gaussian_blur", 1, 64, 300).values["deviation"] == pytest.approx(0.4 * 2)
    assert chosen.strength("gaussian_blur", 1, 300, 64).values["deviation"] == pytest.approx(0.4 * 2)
    snow = chosen.strength("snow", 3, 112, 112).values
    assert snow == {**snow, "location": 0.55, "scale": 0.3, "zoom": 4, "threshold": 0.9, "keep": 0.7}
    assert (snow["radius"], snow["deviation"]) == (6, 4)
    assert strength(table((2, 3, 5, 6, 8)), operator(a=Parameter(0.0, pixels=True)), 0.5, 112).values["a"] == 0.5


def test_tables_of_small_images_end_where_large_ones_begin():
    chosen = benchmark("imagenet-c")
    assert chosen.strength("contrast", 1, 95, 300).values["factor"] == 0.75
    assert chosen.strength("contrast", 1, 96, 96).values["factor"] == 0.4
    assert benchmark("bloodmnist").strength("contrast_down", 1, 28, 28).values["factor"] == 0.9


def test_over_a_jump_the_nearest_anchor_is_taken():
    steps, five = operator(a=Parameter(1.0)), table((0.3, 0.1, 2, 5, 20), jumps=(2,))
    for severity, value in ((1.5, 0.2), (2, 0.1), (2.49, 0.1), (2.5, 2), (2.9, 2), (3, 2), (3.5, 3.5), (0.5, 0.65)):
        assert strength(five, steps, severity, 224).values["a"] == pytest.approx(value)


def test_a_jump_after_the_first_severity_leaves_the_way_to_it():
    five = table((1, 2, 3, 4, 5), jumps=(1,))
    found = [strength(five, operator(a=Parameter(0.0)), severity, 224).values["a"] for severity in (0.5, 1, 1.4, 1.6)]
    assert found == [0.5, 1, 1, 2]


def test_strict_order_and_jumps_within_it():
    steps, five = operator(a=Parameter(1.0)), table((0.3, 0.1, 2, 5, 20), strict=(3, 1, 2, 4, 5), jumps=(2,))

    def value(severity, strict=True):
        return strength(five, steps, severity, 224, strict=strict).values["a"]

    assert [value(severity) for severity in range(6)] == [1, 2, 0.3, 0.1, 5, 20]
    assert [value(severity, strict=False) for severity in range(6)] == [1, 0.3, 0.1, 2, 5, 20]
    assert value(0.5) == 1.5
    assert (value(1.4), value(1.6)) == (2, 0.3), "3 and 1 lie on two sides of the jump"
    assert value(2.5) == pytest.approx(0.2)
    assert (value(3.4), value(3.6)) == (0.1, 5)
    assert value(4.5) == pytest.approx(12.5)


def test_published_is_said_of_published_settings_alone():
    chosen, blood = benchmark("imagenet-c"), benchmark("bloodmnist")
    for severity in (0, 1, 2.0, 5):
        assert chosen.strength("fog", severity, 224, 224).published
        assert blood.strength("bubble", severity, 224, 224).published
    for height, width in ((225, 225), (223, 223), (224, 300), (300, 224), (64, 64)):
        assert not chosen.strength("fog", 3, height, width).published
    assert not chosen.strength("fog", 2.5, 224, 224).published
    assert not chosen.strength("fog", 0.999, 224, 224).published
    assert not blood.strength("bubble", 3, 32, 32).published
    assert not benchmark("dermamnist").strength("characters", 3, 224, 224).published, "letters of our own"


def test_strict_settings_are_published_where_they_keep_their_place():
    derma = benchmark("dermamnist")
    found = [derma.strength("black_corner", severity, 224, 224, strict=True) for severity in range(1, 6)]
    assert [strict.published for strict in found] == [True, True, True, False, False]
    assert [strict.values["radius"] for strict in found] == [1.1, 1.05, 1, 0.95, 0.9]
    assert derma.strength("black_corner", 4, 224, 224).values["radius"] == 0.9
    assert all(derma.strength("pixelate", severity, 224, 224, strict=True).published for severity in range(1, 6))


@pytest.mark.parametrize("severity", [-0.1, -1e-9, 5.01, 6, math.inf, -math.inf, math.nan])
def test_severity_out_of_range(severity):
    with pytest.raises(InputError, match=r"severity of fog must lie in \[0, 5\], got"):
        check_severity(severity, "fog")
    with pytest.raises(InputError, match=r"must lie in \[0, 5\]"):
        benchmark("imagenet-c").strength("contrast", severity, 32, 32)


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ([(1, 2, 3, 4)], {}),
        ([(1, 2, 3, 4, 5, 6)], {}),
        ([(1, 2, 3, 4, 5), ()], {}),
        ([(1, 2, 3, 4, 5)], {"strict": (1, 2, 3, 4)}),
        ([(1, 2, 3, 4, 5)], {"strict": (1, 2, 3, 4, 4)}),
        ([(1, 2, 3, 4, 5)], {"strict": (0, 1, 2, 3, 4)}),
    ],
)
def test_wrong_tables_are_refused(columns, options):
    with pytest.raises(InputError, match="a table has five severities"):
        table(*columns, **options)
