"""Severity as a continuous quantity between published anchors."""

import pytest

from snellen.corruption.tables import TABLES, strength
from snellen.errors import InputError, UnknownNameError


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("side", [224, 32])
def test_anchors_are_the_published_values(kind, side):
    table = TABLES[kind]
    anchors = table.large if side == 224 else table.small
    for severity, value in enumerate(anchors, start=1):
        found = strength(kind, severity, side, side)
        assert found.value == value
        assert found.published
    assert strength(kind, 0, side, side).value == table.identity
    halfway = strength(kind, 2.5, side, side)
    assert halfway.value == pytest.approx((anchors[1] + anchors[2]) / 2)
    assert not halfway.published


def test_pixel_lengths_grow_with_the_image_and_say_so():
    assert strength("gaussian_blur", 2, 448, 448).value == pytest.approx(4.0)
    assert not strength("gaussian_blur", 2, 448, 448).published
    assert strength("gaussian_noise", 2, 448, 448).value == 0.12
    assert strength("gaussian_blur", 5, 28, 28).value == pytest.approx(1.0 * 28 / 32)
    assert strength("gaussian_blur", 1, 64, 300).value == pytest.approx(0.4 * 64 / 32), "the shorter side decides"


@pytest.mark.parametrize("severity", [-0.1, 5.01, float("nan")])
def test_severity_out_of_range(severity):
    with pytest.raises(InputError, match=r"severity of contrast must lie in \[0, 5\]"):
        strength("contrast", severity, 32, 32)


def test_unknown_kind_suggests():
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian_noise'"):
        strength("gausian_noise", 1, 32, 32)
