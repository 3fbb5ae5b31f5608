"""Table of the video model of solids that turn, from docs/measured/turning-solids.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

CAPTIONS = {"true": "true", "opposite": "opposite", "none": "none (as the true one)"}


def turning_table(found: Mapping[str, Any]) -> str:
    """A row for each kind of caption: share of videos that turn the named way, by class, and how many stand still."""
    kinds = list(found["true"]["by_class"])
    rows = []
    for key, name in CAPTIONS.items():
        one = found[key]
        share = f"{one['named_way']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
        rows.append(
            [name, share, f"{one['still']:.2f}", *(f"{one['by_class'][kind]['named_way']:.2f}" for kind in kinds)]
        )
    near = "; ".join(
        f"{frame}: {one['generated']:.1f} decibels, a copy of frame 0 {one['copy of frame 0']:.1f}"
        for frame, one in found["decibels"].items()
    )
    table = markdown_table(["caption", "turns the named way (95 %)", "stands still", *kinds], rows)
    return f"{table}\n\n{found['objects']} test objects; chance is 0.33. Distance to the true video: {near}."


TABLES: Tables = {"docs/systems/text_image_to_video.md": {"turning": from_measured("turning-solids", turning_table)}}
