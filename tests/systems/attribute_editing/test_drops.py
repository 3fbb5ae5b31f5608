"""What edits cost, on the same images."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.paired_test import mcnemar
from snellen.systems.attribute_editing.attribute_loss import (
    attribute_drops,
    lost_by,
    mean_drop,
    paired_drop,
    worst_attributes,
)
from snellen.systems.attribute_editing.published import ATTRIBUTES, KINDS, RESNET50_MEAN, SETTINGS


@pytest.mark.covers("27.8")
def test_a_drop_is_against_the_same_images_unedited():
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 70 + [False] * 20 + [True] * 4 + [False] * 6)
    found = paired_drop(before, after)
    assert (found.original, found.edited, found.count) == (0.9, 0.74, 100)
    assert found.drop == pytest.approx(0.16)
    with pytest.raises(InputError, match="the same images"):
        paired_drop(before, after[:50])
    with pytest.raises(InputError, match="at least one"):
        paired_drop([], [])


@pytest.mark.covers("27.11")
def test_a_drop_has_mcnemars_test_and_a_paired_interval():
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 70 + [False] * 20 + [True] * 4 + [False] * 6)
    found = paired_drop(before, after)
    assert found.p_value == mcnemar(20, 4)
    assert found.low < 0.16 < found.high
    # Only the images that differ make it wide: the same rates, fewer changed decisions.
    steady = paired_drop(before, np.array([True] * 74 + [False] * 26))
    assert steady.drop == pytest.approx(0.16)
    assert steady.high - steady.low < found.high - found.low
    # Images of one patient count as one.
    doubled = paired_drop(np.repeat(before, 4), np.repeat(after, 4), np.repeat(np.arange(100), 4))
    assert doubled.high - doubled.low == pytest.approx(found.high - found.low, rel=0.1)
    assert doubled.p_value > paired_drop(np.repeat(before, 4), np.repeat(after, 4)).p_value
    assert paired_drop([True], [False]).low == -1.0


@pytest.mark.covers("27.2")
def test_the_mean_is_of_ten_edits_and_the_control_is_none_of_them():
    drops = {
        kind: paired_drop([True] * 10_000, np.arange(10_000) >= round(100 * SETTINGS[kind].resnet50)) for kind in KINDS
    }
    assert sum(row.in_mean for row in SETTINGS.values()) == 10
    assert mean_drop(drops) == pytest.approx(RESNET50_MEAN / 100, abs=1e-4)
    neutral = mean_drop(drops, adversarial=False)
    assert neutral == pytest.approx((10 * RESNET50_MEAN - 29.92) / 900, abs=1e-4)
    assert mean_drop({"inver": drops["inver"]}) is None
    of = attribute_drops(drops)
    assert set(of) == set(ATTRIBUTES)
    assert of["background"] == pytest.approx((7.30 + 13.35 + 13.34) / 300), "none that misleads one model"


def test_the_worst_attribute_of_each_image():
    before = [0.9, 0.9, np.nan, 0.5]
    after = {
        "random_position": [0.1, 0.8, 0.0, 0.6],
        "size_5": [0.5, 0.2, 0.0, 0.7],
        "size_8": [0.5, 0.9, 0.0, 0.5],
        "adversarial_background": [0.0, 0.0, 0.0, 0.0],
        "inver": [0.0, 0.0, 0.0, 0.0],
    }
    assert worst_attributes(after, before) == ["position", "size", None, None]
    right = {kind: [value > 0.5 for value in values] for kind, values in after.items()}
    assert lost_by(right, [True, True, False, True]) == [["size", "position"], ["size"], [], ["size"]]
