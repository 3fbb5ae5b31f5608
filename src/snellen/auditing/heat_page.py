"""Heat maps in the page: which of them fit, and the scale of their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from snellen.auditing.finding_picture import EmbeddedPictures, embedded
from snellen.checks.panels import Panel
from snellen.methods.explanations.colour_scale import SCALE

#: Share of the budget of pictures that heat maps may take; findings have the rest, and what heat maps leave.
HEAT_SHARE = 0.5


def embed_heat(panels: Sequence[Panel], pictures: Mapping[str, bytes], *, budget: int) -> tuple[EmbeddedPictures, int]:
    """The heat maps that fit, in their order, none after the first that does not; and what is left of the budget.

    Args:
        panels: of the report.
        pictures: WebP files by name.
        budget: bytes of all pictures of the page as base64.
    """
    chosen: list[str] = []
    spent = 0
    for one in (one for panel in panels for one in panel.heat):
        names = [name for name in (one.plain, one.heat) if name is not None and name in pictures]
        cost = sum(4 * -(-len(pictures[name]) // 3) for name in names if name not in chosen)
        if one.heat not in pictures or spent + cost > HEAT_SHARE * budget:
            break
        spent += cost
        chosen += names
    return embedded(chosen, pictures), budget - spent


def heat_scale(words: str, *, width: int = 320) -> Markup:
    """The colours from 0 to 1 with ticks, and what they stand for; for light and dark pages.

    Args:
        words: what is shown; data, and escaped.
        width: of the drawing, in its own units.
    """
    stops = "".join(
        f'<stop offset="{place / (len(SCALE) - 1):g}" stop-color="#{int(r):02x}{int(g):02x}{int(b):02x}"/>'
        for place, (r, g, b) in enumerate(SCALE)
    )
    left, right = 8, width - 8
    ticks = "".join(
        f'<text class="tick" x="{left + share * (right - left):g}" y="44" text-anchor="middle">{share:g}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    return Markup(  # noqa: S704 - numbers of ours, and escaped words
        f'<svg class="heat-scale" viewBox="0 0 {width} 50" role="img" aria-label="Scale: {escape(words)}, 0 to 1">'
        f'<defs><linearGradient id="heat-scale">{stops}</linearGradient></defs>'
        f'<text class="axis" x="{left}" y="12">{escape(words)}</text>'
        f'<rect x="{left}" y="19" width="{right - left}" height="12" fill="url(#heat-scale)"/>{ticks}</svg>'
    )
