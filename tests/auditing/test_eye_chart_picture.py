"""The eye chart in a page: its lines, its letters, and that numbers say what ink says."""

import re

import pytest

from snellen.auditing.eye_chart_picture import FAINTEST, SMALLEST, STROKES, eye_chart_picture, optotype_at
from snellen.checks.eye_chart import Cell, EyeChart, column
from snellen.core.errors import InputError
from tests.auditing.parsed_page import Page

EVIL = "</table><script>alert(1)</script>"


def cells(*retained, width=0.02):
    return [
        Cell(severity=severity, retained=share, low=share - width, high=share + width, n=100)
        for severity, share in enumerate(retained, start=1)
    ]


def chart(**columns):
    return EyeChart(
        clean_accuracy=0.9,
        chance=0.1,
        columns=tuple(column(name, "corruption", cells(*shares)) for name, shares in columns.items()),
    )


def table(page):
    """Rows of the body: for each, the severity and its cells."""
    rows, current = [], None
    for element in page.elements:
        if not element.within("tbody"):
            continue
        if element.tag == "tr":
            current = []
            rows.append(current)
        elif element.tag in ("th", "td"):
            current.append(element)
    return rows


def ink(page):
    return [float(svg.attributes["opacity"]) for svg in page.all("svg", "optotype")]


def test_a_letter_for_each_cell_with_its_share_in_words():
    page = Page(eye_chart_picture([("m", chart(fog=[1.0, 0.9, 0.4], blur=[1.0, 0.95, 0.9]))]))
    rows = table(page)
    assert [row[0].text for row in rows] == ["1", "2", "3"]
    assert rows[2][1].text.endswith("40 percent, not read")
    assert rows[2][2].text.endswith("90 percent, read")
    assert rows[2][1].text.startswith("fog, severity 3: 40% retained (38% to 42%), 100 images, not read")
    assert all(svg.attributes["aria-hidden"] == "true" for svg in page.all("svg"))
    assert page.one("table").attributes["class"] == "letters alone"
    assert page.one("caption").text


def test_ink_is_the_share_that_is_retained_and_thin_letters_are_not_read():
    page = Page(eye_chart_picture([("m", chart(fog=[1.3, 0.9, 0.4, -0.1]))]))
    assert ink(page) == [1.0, 0.9, 0.4, FAINTEST]
    assert ["thin" in svg.classes for svg in page.all("svg", "optotype")] == [False, False, True, True]
    below = table(page)[3][1].text
    assert "severity 4: 0% retained (-12% to -8%)" in below, "nothing is retained; the interval says how far below"
    assert below.endswith("0 percent, not read")
    assert "-10" not in below


def test_letters_shrink_by_line():
    page = Page(eye_chart_picture([("m", chart(fog=[1, 1, 1, 1, 1]))]))
    sides = [int(svg.attributes["width"]) for svg in page.all("svg", "optotype")]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == 5
    assert sides[-1] == SMALLEST


def test_the_line_runs_above_the_first_letter_that_is_not_read_and_stays_there():
    # Read again at severity 3: the line does not come back.
    page = Page(eye_chart_picture([("m", chart(snow=[1.0, 0.5, 0.95, 0.3], rain=[1.0, 1.0, 1.0, 1.0]))]))
    found = [[cell.classes for cell in row[1:]] for row in table(page)]
    # The least withstood column stands first.
    assert found == [[[], []], [["stop"], ["step"]], [[], ["step"]], [[], ["end", "step"]]]


def test_columns_stand_by_acuity_within_their_check_and_threats_say_one_size():
    threat = column("linf.8", "adversarial", [Cell(severity=5, retained=0.1, low=0.0, high=0.2, n=9)], scale=False)
    base = chart(easy=[1, 1, 1, 1, 1], hard=[0.5, 0.4, 0.3, 0.2, 0.1], middle=[1, 1, 0.6, 0.2, 0.1])
    page = Page(eye_chart_picture([("m", base.model_copy(update={"columns": (*base.columns, threat)}))]))
    heads = [th.text for th in page.all("th") if th.within("thead")]
    assert heads == ["severity", "hard", "middle", "easy", "linf 8/255"]
    feet = [td.text for td in page.all("td") if td.within("tfoot")]
    assert feet[2:] == ["≥ 5", "one size"]
    assert feet[1].startswith("2.5")
    assert table(page)[0][4].text == "not tested"
    assert "apart" in table(page)[4][4].classes


@pytest.mark.parametrize("count", [1, 6, 7, 25])
def test_any_number_of_columns(count):
    page = Page(eye_chart_picture([("m", chart(**{f"kind_{n}": [1, 0.9, 0.5, 0.4, 0.1] for n in range(count)}))]))
    assert all(len(row) == count + 1 for row in table(page))
    assert ("upward" in page.one("table").classes) == (count > 6)
    region = page.one("div", "scroll")
    assert region.attributes["tabindex"] == "0", "what scrolls must be reached by the keyboard"
    assert region.attributes["aria-label"]


def test_two_models_side_by_side_where_each_was_tested():
    first, second = chart(fog=[1, 0.5], snow=[1, 0.9]), chart(fog=[1, 0.95], rain=[1, 1])
    page = Page(eye_chart_picture([("old", first), ("new", second)]))
    groups = [th for th in page.all("th") if th.attributes.get("scope") == "colgroup"]
    assert [th.text for th in groups] == ["fog", "snow", "rain"]
    assert all(th.attributes["colspan"] == "2" for th in groups)
    assert [li.text for li in page.all("li")] == ["A old", "B new"]
    words = [cell.text.split()[-2:] for cell in table(page)[1][1:]]
    assert words == [
        ["not", "read"],
        ["percent,", "read"],
        ["percent,", "read"],
        ["not", "tested"],
        ["not", "tested"],
        ["percent,", "read"],
    ]
    with pytest.raises(InputError, match="one model or two, got 3"):
        eye_chart_picture([("a", first)] * 3)
    with pytest.raises(InputError, match="got 0"):
        eye_chart_picture([])


def test_hostile_names_are_text():
    picture = eye_chart_picture([(EVIL, chart(**{EVIL: [1, 0.3]})), (EVIL, chart(fog=[1, 1]))])
    page = Page(picture)
    assert not page.all("script")
    assert EVIL in [th.text for th in page.all("th")]
    assert " style=" not in picture
    assert not re.search(r"\son[a-z]+=", picture)


def test_letters_are_ten_and_neighbours_differ():
    assert len(STROKES) == 10
    for row in range(6):
        for place in range(25):
            assert optotype_at(row, place) != optotype_at(row, place + 1)
            assert optotype_at(row, place) != optotype_at(row + 1, place)
    page = Page(eye_chart_picture([("m", chart(fog=[1.0]))]))
    ids = {symbol.attributes["id"] for symbol in page.all("symbol")}
    assert {use.attributes["href"].removeprefix("#") for use in page.all("use")} <= ids
