"""A set without some of its images: a table that can be audited in its place, and the accuracy without them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.metrics.clustered import clustered_share


def cleaned_table(images: PerImage, left_out: NDArray[np.bool_], names: tuple[str, ...]) -> list[dict[str, object]]:
    """A row for each image that stays, in the order of the set; a label that is not known is empty.

    Args:
        images: n of them.
        left_out: bool (n,).
        names: of the classes.
    """
    return [
        {"id": images.ids[row], "label": names[images.labels[row]] if images.labels[row] >= 0 else ""}
        for row in np.flatnonzero(~left_out).tolist()
    ]


def advice(table: str, beside: str) -> str:
    """How the table is used.

    Args:
        table: its name under ``lists/``.
        beside: what it leaves out, as the end of a sentence.
    """
    return (
        f"audit lists/{table}.csv, which leaves {beside}: put the file into the folder of the images, and read it with "
        f"--column image=id"
    )


def accuracy_without(images: PerImage, left_out: NDArray[np.bool_], *, check: str, title: str) -> list[Panel]:
    """Accuracy of all labelled images and of those that stay; nothing where no labelled image is left out, or stays.

    Args:
        images: n of them.
        left_out: bool (n,).
        check: name of the check that shows it.
        title: of the panel.
    """
    known = images.labelled
    if not (known & left_out).any() or not (known & ~left_out).any():
        return []
    rows = []
    for name, kept in (("all", known), ("without them", known & ~left_out)):
        right = images.correct[kept]
        low, high = clustered_share(right, images.units_of(kept))
        rows.append((name, len(right), f"{right.mean():.4f}", f"{low:.4f} – {high:.4f}"))
    return [Panel(check=check, title=title, head=("images", "number", "accuracy", "95 % interval"), rows=tuple(rows))]
