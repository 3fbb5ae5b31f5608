"""The eye chart as a table of letters that shrink with severity and fade with the sight that is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from snellen.checks.eye_chart import READABLE, Acuity, Cell, Column, EyeChart
from snellen.core.errors import InputError

#: Middle lines of strokes that are one unit wide, in a box of 5 × 5 units; what stands out of the box is cut off.
#: Sloan (1959), New test charts for the measurement of visual acuity: ten letters of about equal legibility.
STROKES: dict[str, str] = {
    "C": "M4.44 2A2 2 0 1 0 4.44 3",
    "D": "M.5 .5H2.5A2 2 0 0 1 2.5 4.5H.5Z",
    "H": "M.5 0V5M4.5 0V5M.5 2.5H4.5",
    "K": "M.5 0V5M5 -.4L.5 3.6M2.1 2.2L5 5.4",
    "N": "M.5 0V5M4.5 0V5M.3 -.2L4.7 5.2",
    "O": "M2.5 .5A2 2 0 1 1 2.5 4.5A2 2 0 1 1 2.5 .5",
    "R": "M.5 5V.5H3.4A1.1 1.1 0 0 1 3.4 2.7H.5M3 2.7L4.75 5.5",
    "S": "M4.5 1.7A1.2 1.2 0 0 0 3.3 .5H1.5A1 1 0 0 0 1.5 2.5H3.5A1 1 0 0 1 3.5 4.5H1.7A1.2 1.2 0 0 1 .5 3.3",
    "V": "M.35 -.4L2.5 4.4L4.65 -.4",
    "Z": "M0 .5H4.4L.6 4.5H5",
}


def optotype_symbols() -> Markup:
    """The letters as symbols ``optotype-C`` and so on, to be put once into a page."""
    symbols = "".join(
        f'<symbol id="optotype-{letter}" viewBox="0 0 5 5"><path d="{path}"/></symbol>'
        for letter, path in STROKES.items()
    )
    return Markup(f'<svg class="symbols" width="0" height="0" aria-hidden="true">{symbols}</svg>')  # noqa: S704 - ours


def optotype_at(row: int, column: int) -> str:
    """Letter at a place of the chart; neighbours differ, so that no row or column can be known by heart.

    >>> "".join(optotype_at(0, column) for column in range(10))
    'CKRZHOVDNS'
    """
    return tuple(STROKES)[(3 * column + 4 * row) % len(STROKES)]


#: Sides of the letters of the first and of the last line, pixels; of the first where there are many columns.
LARGEST, SMALLEST, LARGEST_OF_MANY = 42, 13, 34

#: More columns than this stand closer together.
MANY = 15

#: The faintest letter: it must still be found, since its number stands below it.
FAINTEST = 0.3

#: What stands for the first and the second model.
SIGNS = ("A", "B")

#: More columns than this have their names written upwards.
LEVEL_NAMES = 6


@dataclass(frozen=True)
class _Place:
    """One column of one chart: where it stands, and from which line on it is not read."""

    name: str
    check: str
    chart: int
    cells: dict[float, Cell]
    acuity: Acuity | None
    stop: float

    def below(self, severity: float) -> bool:
        return severity >= self.stop


def eye_chart_picture(charts: Sequence[tuple[str, EyeChart]]) -> Markup:
    """Draw one eye chart, or those of two models side by side.

    Lines are severities, columns are nuisances and threats, the least withstood first. A letter fades with the share
    of the above-chance accuracy that is retained, and is drawn thin where it cannot be read any more; the share stands
    below it. A line runs above the first letters that are not read. The table needs no script, and its numbers are
    text.

    Args:
        charts: name and chart of one model or of two.

    Raises:
        InputError: none, or more than two charts.
    """
    if not 1 <= len(charts) <= 2:
        raise InputError(f"an eye chart is drawn for one model or two, got {len(charts)}; compare them two by two")
    severities = sorted({severity for _, chart in charts for severity in chart.severities})
    columns = _arranged([chart for _, chart in charts])
    head = _head(columns, [name for name, _ in charts])
    many = len(columns) * len(charts) > MANY
    sides = _sides(len(severities), LARGEST_OF_MANY if many else LARGEST)
    body = "".join(
        _line(row, severity, severities, columns, len(charts), sides[row]) for row, severity in enumerate(severities)
    )
    foot = "".join(_acuity(place, _classes(columns, at)) for at, place in _each(columns))
    described = (
        f"Share of the above-chance accuracy that is retained, in percent, by severity and nuisance. A line is read "
        f"while the lower end of the 95 % interval is at least {READABLE:.0%}."
    )
    look = " upward" * (len(columns) > LEVEL_NAMES) + " many" * many + " alone" * (len(charts) == 1)
    # Every variable part below is a number, or was escaped where it was made.
    table = (
        f'<div class="scroll" role="region" aria-label="Eye chart, table" tabindex="0"><table class="letters{look}">'
        f'<caption class="unseen">{described}</caption><thead>{head}</thead><tbody>{body}</tbody>'
        f'<tfoot><tr><th scope="row">reads to</th>{foot}</tr></tfoot></table></div>'
    )
    key = _key([name for name, _ in charts])
    return Markup(f'<div class="eye-chart">{optotype_symbols()}{key}{table}</div>')  # noqa: S704


def column_words(name: str, check: str) -> str:
    """Name of a column as people read it.

    >>> column_words("gaussian_noise", "corruption"), column_words("linf.8", "adversarial")
    ('gaussian noise', 'linf 8/255')
    """
    if check == "adversarial":
        norm, _, size = name.partition(".")
        return f"{norm} {size}/255" if norm == "linf" else f"{norm} {size}"
    return name.replace("_", " ")


def acuity_words(acuity: Acuity) -> tuple[str, str]:
    """The acuity and its interval.

    >>> acuity_words(Acuity(value=2.41, low=2.1, high=2.8, censored=False))
    ('2.4', '2.1–2.8')
    >>> acuity_words(Acuity(value=5, low=4.2, high=5, censored=True))
    ('≥ 5', '4.2–5+')

    Ends that one digit cannot distinguish have two, so that no interval looks like a point:

    >>> acuity_words(Acuity(value=0.41, low=0.38, high=0.44, censored=False))
    ('0.41', '0.38–0.44')
    """
    digits = 2 if _short(acuity.low, 1) == _short(acuity.high, 1) else 1
    low, high, value = (_short(number, digits) for number in (acuity.low, acuity.high, acuity.value))
    if acuity.censored:
        return f"≥ {value}", "" if low == high else f"{low}–{high}+"
    return value, "" if low == high else f"{low}–{high}"


def _short(number: float, digits: int) -> str:
    return f"{round(number, digits):g}"


def _arranged(charts: Sequence[EyeChart]) -> list[tuple[_Place | None, ...]]:
    """Columns in the order of the page, each with its place in every chart (None where a model was not tested)."""
    found: dict[tuple[str, str], dict[int, Column]] = {}
    for number, chart in enumerate(charts):
        for column in chart.columns:
            found.setdefault((column.check, column.name), {})[number] = column
    checks = list(dict.fromkeys(check for check, _ in found))

    def order(key: tuple[str, str]) -> tuple[int, float, float, str]:
        # By the first chart that has the column; ties, as when everything is read, by what is left at its last line.
        column = found[key][min(found[key])]
        reached = float("inf") if column.acuity is None else column.acuity.value
        return checks.index(key[0]), reached, column.cells[-1].retained, key[1]

    return [
        tuple(None if number not in found[key] else _place(found[key][number], number) for number in range(len(charts)))
        for key in sorted(found, key=order)
    ]


def _place(column: Column, chart: int) -> _Place:
    unread = [cell.severity for cell in column.cells if not cell.read]
    return _Place(
        name=column_words(column.name, column.check),
        check=column.check,
        chart=chart,
        cells={cell.severity: cell for cell in column.cells},
        acuity=column.acuity,
        stop=min(unread, default=float("inf")),
    )


def _each(columns: Sequence[tuple[_Place | None, ...]]) -> list[tuple[int, _Place | None]]:
    """Every place, left to right, with the number of its column."""
    return [(at, place) for at, places in enumerate(columns) for place in places]


def _head(columns: Sequence[tuple[_Place | None, ...]], names: Sequence[str]) -> str:
    span = f' colspan="{len(names)}"' if len(names) > 1 else ""
    scope = "colgroup" if len(names) > 1 else "col"
    cells = ""
    for at, places in enumerate(columns):
        place = next(place for place in places if place is not None)
        cells += f'<th scope="{scope}"{span}{_attribute(_classes(columns, at))}><span>{escape(place.name)}</span></th>'
    if len(names) == 1:
        return f'<tr><th scope="col">severity</th>{cells}</tr>'
    models = "".join(
        f'<th scope="col" class="model"><span aria-hidden="true">{sign}</span>'
        f'<span class="unseen">{escape(name)}</span></th>'
        for _ in columns
        for sign, name in zip(SIGNS, names, strict=True)
    )
    return f'<tr><th scope="col" rowspan="2">severity</th>{cells}</tr><tr>{models}</tr>'


def _key(names: Sequence[str]) -> str:
    """Which sign stands for which model; nothing for one model."""
    if len(names) == 1:
        return ""
    entries = "".join(
        f"<li><b>{sign}</b> <bdi>{escape(name)}</bdi></li>" for sign, name in zip(SIGNS, names, strict=True)
    )
    return f'<ul class="models">{entries}</ul>'


def _sides(lines: int, largest: int) -> list[int]:
    """Sides of the letters by line: each line is smaller than the last by the same factor, as on the wall."""
    return [round(largest * (SMALLEST / largest) ** (row / max(lines - 1, 1))) for row in range(lines)]


def _line(
    row: int,
    severity: float,
    severities: Sequence[float],
    columns: Sequence[tuple[_Place | None, ...]],
    charts: int,
    side: int,
) -> str:
    cells = ""
    for at, place in _each(columns):
        classes = _classes(columns, at)
        if place is None or severity not in place.cells:
            cells += f'<td{_attribute(classes)}><span class="unseen">not tested</span></td>'
            continue
        if place.stop == severity:
            classes.append("stop")
        elif severity == severities[-1] and place.stop == float("inf"):
            classes.append("end")
        left = columns[at - 1][0] if at and charts == 1 else None
        if left is not None and left.check == place.check and left.below(severity) != place.below(severity):
            classes.append("step")
        if place.chart:
            classes.append("second")
        cells += f"<td{_attribute(classes)}>{_letter(optotype_at(row, at), side, place, place.cells[severity])}</td>"
    return f'<tr><th scope="row">{severity:g}</th>{cells}</tr>'


def _letter(letter: str, side: int, place: _Place, cell: Cell) -> str:
    ink = min(max(cell.retained, FAINTEST), 1.0)
    state = "read" if cell.read else "not read"
    share = max(cell.retained, 0.0)  # below guessing nothing is retained; the interval says how far below
    hover = (
        f"{place.name}, severity {cell.severity:g}: {share:.0%} retained ({cell.low:.0%} to {cell.high:.0%}), "
        f"{cell.n} images, {state}"
    )
    thin = "" if cell.read else " thin"
    return (
        f'<svg class="optotype{thin}" width="{side}" height="{side}" opacity="{ink:.2f}" aria-hidden="true">'
        f'<title>{escape(hover)}</title><use href="#optotype-{letter}"/></svg>'
        f'<span class="share">{100 * share:.0f}<span class="unseen"> percent, {state}</span></span>'
    )


def _acuity(place: _Place | None, classes: list[str]) -> str:
    if place is None:
        return f'<td{_attribute(classes)}><span class="unseen">not tested</span></td>'
    if place.acuity is None:
        return f'<td{_attribute(classes)}><small class="single">one size</small></td>'
    value, interval = acuity_words(place.acuity)
    return f"<td{_attribute(classes)}><b>{value}</b><small>{interval}</small></td>"


def _classes(columns: Sequence[tuple[_Place | None, ...]], at: int) -> list[str]:
    """A column stands apart where another check begins."""
    here, before = (next(place for place in columns[max(n, 0)] if place is not None) for n in (at, at - 1))
    return ["apart"] if here.check != before.check else []


def _attribute(classes: Sequence[str]) -> str:
    return f' class="{" ".join(classes)}"' if classes else ""
