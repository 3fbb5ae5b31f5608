"""Pictures in the page: findings, which stand open and how their pictures are embedded, and heat maps that fit."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape
from PIL import Image

from snellen.checks.panels import Panel
from snellen.core.finding import Finding, FindingExample
from snellen.methods.explanations.overlay import SCALE

#: Findings of one kind that stand open; more are folded away.
OPEN = 8

#: Bytes of all pictures in the page, as base64. The page is to stay under 10 MB.
PICTURE_BYTES = 6_000_000

#: A picture that is shown more than once is stored once, if it has at least so many bytes as base64.
SHARED_FROM = 1_500

#: Up to this side, pixels are shown as squares: smoothing would hide what the model sees.
PIXELS_SHOWN = 64


@dataclass(frozen=True)
class ArrangedFindings:
    """Findings in the order of the page.

    Attributes:
        standing: by harm, at most :data:`OPEN` of each kind.
        folded: the rest, by kind.
    """

    standing: tuple[Finding, ...]
    folded: dict[str, tuple[Finding, ...]]


def arrange_findings(findings: Sequence[Finding]) -> ArrangedFindings:
    """Fold away all but the most harmful of each kind.

    >>> many = [Finding(kind="slice", harm=0.1, title=str(n)) for n in range(10)]
    >>> found = arrange_findings(many)
    >>> len(found.standing), [finding.title for finding in found.folded["slice"]]
    (8, ['8', '9'])
    """
    seen: Counter[str] = Counter()
    standing: list[Finding] = []
    folded: dict[str, tuple[Finding, ...]] = {}
    for finding in findings:
        seen[finding.kind] += 1
        if seen[finding.kind] <= OPEN:
            standing.append(finding)
        else:
            folded[finding.kind] = (*folded.get(finding.kind, ()), finding)
    return ArrangedFindings(tuple(standing), folded)


def picture_groups(finding: Finding) -> list[list[FindingExample]]:
    """Examples that belong side by side: those of duplicates whose captions begin with the same group.

    >>> examples = [("a", "group 1, cat"), ("b", "group 1, dog"), ("c", "group 2, cat")]
    >>> shown = tuple(FindingExample(example_id=name, caption=caption) for name, caption in examples)
    >>> groups = picture_groups(Finding(kind="duplicate", harm=0, title="", examples=shown))
    >>> [[example.example_id for example in group] for group in groups]
    [['a', 'b'], ['c']]
    """
    if finding.kind != "duplicate":
        return [[example] for example in finding.examples]
    groups: dict[str, list[FindingExample]] = {}
    for example in finding.examples:
        groups.setdefault(example.caption.partition(",")[0], []).append(example)
    return list(groups.values())


@dataclass(frozen=True, eq=False)
class EmbeddedPictures:
    """The pictures of a page.

    Attributes:
        sources: picture → base64 of its file; only those that are shown.
        sizes: picture → width and height in pixels.
        shared: pictures that are stored once, as a symbol, and referred to.
        without: findings whose pictures did not fit.
    """

    sources: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    shared: frozenset[str] = frozenset()
    without: frozenset[str] = field(default_factory=frozenset)

    def symbols(self) -> Markup:
        """What :meth:`show` refers to; to be put into the page before."""
        parts = []
        for key in sorted(self.shared):
            width, height = self.sizes[key]
            parts.append(
                f'<symbol id="{_name(key)}" viewBox="0 0 {width} {height}"><image class="{self._look(key)}" '
                f'width="{width}" height="{height}" href="data:image/webp;base64,{self.sources[key]}"/></symbol>'
            )
        if not parts:
            return Markup()
        return Markup(  # noqa: S704 - sizes are numbers, names are digits of hashes, sources are base64
            f'<svg class="symbols" width="0" height="0" aria-hidden="true">{"".join(parts)}</svg>'
        )

    def show(self, key: str | None, words: str) -> Markup:
        """A picture with words for those who cannot see it; nothing where it is not shown."""
        if key is None or key not in self.sources:
            return Markup()
        width, height = self.sizes[key]
        if key in self.shared:
            return Markup(  # noqa: S704
                f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">'
                f'<use href="#{_name(key)}"/></svg>'
            )
        return Markup(  # noqa: S704
            f'<img class="picture {self._look(key)}" width="{width}" height="{height}" alt="{escape(words)}" '
            f'src="data:image/webp;base64,{self.sources[key]}">'
        )

    def _look(self, key: str) -> str:
        return "pixels" if max(self.sizes[key]) <= PIXELS_SHOWN else "smooth"


def embed_pictures(
    findings: Sequence[Finding], pictures: Mapping[str, bytes], *, budget: int = PICTURE_BYTES
) -> EmbeddedPictures:
    """Choose the pictures that fit: those of the most harmful findings, and of no finding after the first left out.

    Args:
        findings: by harm, largest first.
        pictures: WebP files by name.
        budget: bytes of all of them as base64, each counted as often as it is stored.
    """
    uses = Counter(name for finding in findings for name in _names(finding) if name in pictures)
    length = {name: 4 * -(-len(pictures[name]) // 3) for name in uses}
    shared = {name for name, count in uses.items() if count > 1 and length[name] >= SHARED_FROM}
    chosen: set[str] = set()
    without: list[str] = []
    spent = 0
    for finding in findings:
        names = [name for name in _names(finding) if name in pictures]
        if not names:
            continue
        cost = sum(length[name] for name in names if name not in shared)
        cost += sum(length[name] for name in set(names) & shared - chosen)
        if without or spent + cost > budget:
            without.append(finding.key)
            continue
        spent += cost
        chosen.update(names)
    return embedded(chosen, pictures, shared=frozenset(shared & chosen), without=frozenset(without))


def embedded(
    chosen: Iterable[str],
    pictures: Mapping[str, bytes],
    *,
    shared: frozenset[str] = frozenset(),
    without: frozenset[str] = frozenset(),
) -> EmbeddedPictures:
    """The pictures of these names, as the page holds them."""
    names = sorted(set(chosen))
    return EmbeddedPictures(
        sources={name: base64.b64encode(pictures[name]).decode() for name in names},
        sizes={name: _size(pictures[name]) for name in names},
        shared=shared,
        without=without,
    )


def _names(finding: Finding) -> list[str]:
    return [name for example in finding.examples for name in (example.image, example.after) if name is not None]


def _size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.size


def _name(key: str) -> str:
    return f"picture-{escape(key[:16])}"


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
