"""The table of what takes the ground out of plain cosines, from docs/measured/cosine-causes.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table, mean_words

#: What a page calls the ways.
WAYS = {
    "probe": "a linear probe of the vectors",
    "cosines": "cosines, as recorded",
    "without another": "cosines without a random direction of the phrases",
    "centred": "cosines less the mean over the answers of a question",
    "without ground": "cosines without the direction of the ground",
    "probe without ground": "the probe without the direction of the ground",
}


def causes_table(found: Sequence[Mapping[str, Any]]) -> str:
    """A row for each way: means over seeds with their intervals."""
    rows = [
        [text, *(mean_words([one[way][figure] for one in found], "{:.1%}") for figure in ("worst", "ground"))]
        for way, text in WAYS.items()
    ]
    return markdown_table(["scores", "worst group", "the ground is recognised from them"], rows)


TABLES: Tables = {"docs/systems/concept_bottleneck.md": {"cosine-causes": from_measured("cosine-causes", causes_table)}}
