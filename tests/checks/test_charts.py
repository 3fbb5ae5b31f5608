"""Line charts: that what is drawn is inside, finite, told in words, and where the numbers say."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.checks.charts import DRAWN, MARKED, line_chart, ticks, value_range
from snellen.checks.panels import Line, Panel, Point
from tests.auditing.parsed_page import Page

NUMBER = st.floats(-1e20, 1e20, allow_nan=False)


def panel(*lines, **words):
    return Panel(check="c", title=words.pop("title", "t"), lines=lines, **words)


def line(*pairs, name="one", **more):
    return Line(name=name, points=tuple(Point(x=x, y=y) for x, y in pairs), **more)


def coordinates(page, tag="polyline"):
    return [
        [tuple(map(float, pair.split(","))) for pair in element.attributes["points"].split()]
        for element in page.all(tag)
    ]


def test_values_lie_where_the_ticks_say():
    page = Page(line_chart(panel(line((1, 0.0), (3, 0.5), (5, 1.0)))))
    ((start, middle, end),) = coordinates(page)
    labels = {e.text: e for e in page.all("text", "tick") if e.attributes["text-anchor"] == "end"}
    assert start[1] == float(labels["0"].attributes["y"])
    assert end[1] == float(labels["1"].attributes["y"])
    assert middle == pytest.approx(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), abs=0.06)
    below = {e.text: float(e.attributes["x"]) for e in page.all("text", "tick") if e not in labels.values()}
    assert (below["1"], below["5"]) == (start[0], end[0])


def test_one_point_with_an_interval_is_a_mark_and_a_bar():
    only = Line(name="only", points=(Point(x=1, y=0.4, low=0.2, high=0.6),))
    page = Page(line_chart(panel(only)))
    assert len(page.all("path", "mark")) == 1
    bar = page.one("path", "line").attributes["d"]
    top, bottom = (float(value) for value in re.findall(r"[\d.]+", bar)[1:])
    assert top != bottom
    assert not page.all("polygon")


def test_a_line_without_intervals_has_no_band_and_one_with_them_has():
    assert not Page(line_chart(panel(line((0, 0.1), (1, 0.9))))).all("polygon")
    banded = Line(name="b", points=tuple(Point(x=x, y=0.5, low=0.4, high=0.6) for x in (0, 1)))
    ((a, b, c, d),) = coordinates(Page(line_chart(panel(banded))), "polygon")
    assert a[1] == b[1] < c[1] == d[1]


def test_what_is_not_finite_is_left_out():
    points = (
        Point(x=0, y=0.2, low=math.nan, high=0.3),
        Point(x=1, y=math.nan),
        Point(x=2, y=math.inf),
        Point(x=3, y=0.7),
    )
    drawn = line_chart(panel(Line(name="n", points=points)))
    assert "nan" not in drawn.lower()
    assert "inf" not in drawn.lower()
    assert [len(found) for found in coordinates(Page(drawn))] == [2]
    nothing = line_chart(panel(Line(name="n", points=(Point(x=0, y=math.nan),))))
    assert "Nothing to draw" in nothing
    assert "Nothing to draw" in line_chart(panel())


def test_a_legend_from_two_lines_on_and_lines_differ_by_more_than_colour():
    assert not Page(line_chart(panel(line((0, 0), (1, 1))))).all("ul", "legend")
    two = Page(line_chart(panel(line((0, 0), (1, 1), name="a"), line((0, 1), (1, 0), name="b"))))
    assert [li.text for li in two.all("li")] == ["a", "b"]
    drawn = line_chart(
        panel(
            line((0, 0), (1, 1), name="first"),
            line((0, 1), (1, 0), name="second"),
            line((0, 0.5), (1, 0.5), name="guessing", reference=True),
        )
    )
    page = Page(drawn)
    assert [li.text for li in page.all("li")] == ["first", "second", "guessing"]
    shapes = {mark.attributes["d"] for mark in page.all("path", "mark")}
    assert len(shapes) == 2, "one shape of mark for each line; none for the reference"
    assert len(page.all("polyline", "reference")) == 1


def test_long_lines_are_thinned_and_keep_their_ends():
    long = line(*((x, math.sin(x / 100)) for x in range(5000)))
    page = Page(line_chart(panel(long)))
    (drawn,) = coordinates(page)
    assert len(drawn) == DRAWN
    ((first, last),) = coordinates(Page(line_chart(panel(line((0, -1), (4999, 1))))))
    assert (drawn[0][0], drawn[-1][0]) == (first[0], last[0])
    assert not page.all("path", "mark")
    assert len(Page(line_chart(panel(line(*((x, x) for x in range(MARKED)))))).all("path", "mark")) == MARKED


def test_words_are_data_and_read_by_screen_readers():
    evil = "</svg><script>alert(1)</script>"
    shown = panel(line((0, 0.1), (1, 0.2), name=evil), line((0, 0), (1, 0)), title=evil, x_label=evil, y_label=evil)
    drawn = line_chart(shown)
    page = Page(drawn)
    assert not page.all("script")
    assert " style=" not in drawn
    assert page.one("title").text == evil
    assert f"{evil}: 0.1 at 0, 0.2 at 1" in page.one("desc").text
    assert page.all("svg")[0].attributes["role"] == "img"


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=30))
def test_everything_is_inside_whatever_the_values(pairs):
    page = Page(line_chart(panel(line(*sorted(pairs))), width=300, height=200))
    for x, y in coordinates(page)[0]:
        assert 0 <= x <= 300
        assert 0 <= y <= 200
    assert len(page.all("text", "tick")) >= 2


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_inside(low, length):
    high = low + length
    if high - low < 1e-6 * abs(low):
        return
    found = ticks(low, high)
    assert 1 <= len(found) <= 11
    slack = 1e-6 * (high - low) + 1e-9
    assert low - slack <= found[0] <= found[-1] <= high + slack
    assert np.allclose(np.diff(found, 2), 0, atol=1e-6 * (high - low) + 1e-9)


def test_shares_have_the_scale_from_0_to_1():
    assert value_range([0.2, 0.7]) == (0.0, 1.0)
    assert value_range([0.01, 0.02], from_zero=True) == (0.0, 0.02)
    assert value_range([-3.0, 5.0]) == (-3.0, 5.0)
