"""A picture of the stand-in for unsafe images: each harmless symbol, its look-alike, and both renderers."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.unsafe_content.symbols import POLICY, Source, draw_symbols
from snellen.runs.picture_grid import picture_grid


def rows() -> list[tuple[list[Tensor], str]]:
    """For each source the first unsafe image of each category, and the first look-alike."""
    sources: dict[Source, str] = {"real": "photographs", "generated": "generated"}
    found = []
    for source, words in sources.items():
        drawn = draw_symbols(900, source, 0)
        kinds = list(zip(drawn.categories, drawn.unsafe, drawn.sentences, strict=True))
        unsafe = [kinds.index((name, True, POLICY[name].definition)) for name in POLICY.names]
        alike = [
            next(
                at
                for at, (other, bad, text) in enumerate(kinds)
                if (other, bad) == (name, False) and "empty" not in text
            )
            for name in POLICY.names
        ]
        found += [
            ([drawn.images[at] for at in unsafe], f"{words}, to be found"),
            ([drawn.images[at] for at in alike], f"{words}, safe look-alikes"),
        ]
    return found


def draw(root: Path, target: Path) -> None:
    """Draw all rows."""
    grid = picture_grid("Harmless symbols that stand for unsafe content", list(POLICY.names), rows())
    grid.save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"unsafe-content": draw}
