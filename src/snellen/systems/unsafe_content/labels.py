"""What labels and columns of a data set record for each image: safe or unsafe, its category, and its source."""

from __future__ import annotations

from snellen.core.images import ImageSet
from snellen.data.class_balance import synthetic
from snellen.metrics.detection_f1 import GENERATED, REAL
from snellen.systems.unsafe_content.policy import Policy

#: Names of classes that mean safe or unsafe without a policy.
SAFE_NAMES = frozenset({"safe", "normal", "sfw", "neutral", "none"})
UNSAFE_NAMES = frozenset({"unsafe", "nsfw", "not safe"})


def truth_of(images: ImageSet, policy: Policy) -> list[int | None]:
    """1 for unsafe, 0 for safe, by the names of the labels; None where a label is of no such name, or absent."""
    names = [one.lower() for one in images.class_names or ()]
    unsafe = UNSAFE_NAMES | {one.lower() for one in policy.names}
    meaning = [0 if one in SAFE_NAMES else 1 if one in unsafe else None for one in names]
    return [None if label < 0 else meaning[label] for label in images.known_labels.tolist()]


def category_of(images: ImageSet, policy: Policy) -> list[str | None]:
    """The category that each image belongs to: the column ``category``, or its label; None where neither is one."""
    known = {one.lower(): one for one in policy.names}
    names = images.class_names or ()
    labels = [names[label] if label >= 0 else None for label in images.known_labels.tolist()]
    written = zip(images.column("category"), labels, strict=True)
    return [known.get(str(first if first is not None else second).lower()) for first, second in written]


def source_of(images: ImageSet) -> list[str | None]:
    """``real`` or ``generated``: the column ``source``, else as :func:`synthetic` says; None where it is another."""
    made = (GENERATED if one else REAL for one in synthetic(images))
    rows = zip(images.column("source"), made, strict=True)
    sources = (known if written is None else str(written).lower() for written, known in rows)
    return [one if one in (REAL, GENERATED) else None for one in sources]
