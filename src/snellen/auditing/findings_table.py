"""The findings of a report as a sequence that shows itself as a table, in a shell and in a notebook."""

from __future__ import annotations

from typing import SupportsIndex, overload

from markupsafe import escape

from snellen.core.finding import Finding

#: Findings that are shown; the sequence holds all.
SHOWN = 20


class Findings(tuple[Finding, ...]):
    """Findings in the order of their report: a tuple in all but its looks.

    >>> Findings([Finding(kind="corruption", harm=0.12, title="Blur costs 20 points")])
     harm  level     finding
    12.0%  moderate  Blur costs 20 points
    >>> Findings()
    No findings.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Finding: ...
    @overload
    def __getitem__(self, place: slice, /) -> Findings: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> Finding | Findings:
        if isinstance(place, slice):
            return Findings(super().__getitem__(place))
        return super().__getitem__(place)

    def __repr__(self) -> str:
        if not self:
            return "No findings."
        rows = [f"{one.harm:>5.1%}  {one.shown_level:<8}  {_line(one.title)}" for one in tuple(self)[:SHOWN]]
        return "\n".join([" harm  level     finding", *rows, *self._rest()])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        if not self:
            return "<p>No findings.</p>"
        rows = "".join(
            f'<tr><td style="text-align:right">{one.harm:.1%}</td><td>{one.shown_level}</td>'
            f'<td style="text-align:left">{escape(_line(one.title))}</td></tr>'
            for one in tuple(self)[:SHOWN]
        )
        rest = "".join(f"<p>{line}</p>" for line in self._rest())
        return (
            f'<table><thead><tr><th>harm</th><th>level</th><th style="text-align:left">finding</th></tr></thead>'
            f"<tbody>{rows}</tbody></table>{rest}"
        )

    def _rest(self) -> list[str]:
        return [f"… and {len(self) - SHOWN} more"] if len(self) > SHOWN else []


def _line(title: str) -> str:
    """A title on one line, without what could move the cursor: names of images and classes are data."""
    return "".join(letter if letter.isprintable() else " " for letter in title)
