"""Figures by azimuth and elevation, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.methods.explanations.overlay import SCALE
from snellen.systems.viewpoints.view_map import Region, map_picture, view_map


def at(azimuth, elevation):
    return [0.0, azimuth, elevation, 4.0, 0.0, 0.0]


def test_an_object_counts_once_in_a_field_however_often_it_is_seen():
    views = [at(-170, -60), at(-175, -60), at(-170, -65), at(10, 60)]
    found = view_map(views, [1, 1, 0, 1], ["a", "a", "b", "b"], azimuths=4, elevations=2)
    assert found.means[0, 0] == 0.5, "1 of object a and 0 of object b, not 2 of 3"
    assert found.means[1, 2] == 1.0
    assert np.isnan(found.means).sum() == 6
    assert (found.views[0, 0], found.objects[0, 0], found.views.sum()) == (3, 2, 4)
    assert found.azimuths == (-180, -90, 0, 90, 180)
    assert found.elevations == (-70, 0, 70)


def test_ends_of_the_ranges_belong_to_fields():
    found = view_map([at(180, 70), at(-180, -70), at(179, 70)], [0, 1, 1], ["a", "b", "c"], azimuths=2, elevations=2)
    assert found.views.tolist() == [[1, 0], [1, 1]], "180 degrees is where −180 is"
    assert found.region(1, 0).holds([at(180, 70)]).tolist() == [True]
    assert found.region(1, 1).holds([at(180, 70), at(179, 70)]).tolist() == [False, True]
    assert found.region(0, 0).holds([at(-180, 0), at(-180, -1)]).tolist() == [False, True]


def test_the_lowest_field_has_enough_objects():
    views = [at(-90, 0), at(90, 0), at(91, 0)]
    found = view_map(views, [0, 1, 0], ["a", "a", "b"], azimuths=2, elevations=1)
    assert found.lowest() == (0, 0)
    assert found.lowest(objects=2) == (0, 1)
    assert found.lowest(objects=3) is None
    assert str(found.region(0, 1)) == "azimuth 0° to 180°, elevation -70° to 70°"
    assert isinstance(found.region(0, 1), Region)


@pytest.mark.parametrize(
    ("views", "values", "objects", "fields", "message"),
    [
        ([[1, 2, 3]], [1], ["a"], {}, r"finite numbers \(n, 6\)"),
        ([at(np.nan, 0)], [1], ["a"], {}, r"finite numbers"),
        ([at(0, 0)], [1, 0], ["a"], {}, "one finite value and one object for each of 1"),
        ([at(0, 0)], [np.nan], ["a"], {}, "one finite value"),
        ([at(0, 0)], [1], ["a", "b"], {}, "one object for each"),
        ([at(0, 0)], [1], ["a"], {"azimuths": 0}, "at least one column"),
    ],
)
def test_what_is_no_map_is_refused(views, values, objects, fields, message):
    with pytest.raises(InputError, match=message):
        view_map(views, values, objects, **fields)


def test_the_picture_has_above_on_top_and_its_own_scale():
    values = np.array([[0.0, np.nan], [0.25, 0.5]])
    pixels = np.asarray(map_picture(values, (-180, 0, 180), (-70, 0, 70), "title", full=0.5))

    def field(row, column):  # a pixel near the corner, beside the figure
        return tuple(int(part) for part in pixels[30 + row * 30 + 3, 92 + column * 42 + 3])

    assert field(1, 0) == tuple(SCALE[0]), "from below, at the bottom"
    assert field(0, 1) == tuple(SCALE[-1])
    assert field(0, 0) == tuple(SCALE[4])
    assert field(1, 1) == (235, 235, 235), "nothing is known"
