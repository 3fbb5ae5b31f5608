"""The ten letters of Sloan's eye chart, each drawn in a square of five stroke widths, as SVG symbols."""

from __future__ import annotations

from markupsafe import Markup

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
