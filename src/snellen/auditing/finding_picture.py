"""Findings as the page shows them: which stand open, which pictures are shown, and how the pictures are embedded."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape
from PIL import Image

from snellen.core.finding import Finding, FindingExample

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
