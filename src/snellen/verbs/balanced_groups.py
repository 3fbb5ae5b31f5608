"""Evaluation sets with equally many images of each group: a request names the group, another classifier the label.

A generator that draws chosen values of an attribute (system 28, Wu et al. 2022) makes the groups of an audit equally
frequent. Their labels must come from a classifier that guided nothing: the audit would else measure itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.methods.generation.made_images import weights_of
from snellen.runs.layout import classes_of


def check_truth(truth: Classifier, identities: Mapping[str, str]) -> None:
    """Refuse a classifier that cannot say what images show.

    Args:
        truth: is to label the images.
        identities: of the weights that made the images, by name.

    Raises:
        InputError: it is one of these, or it decides several labels of an image.
    """
    if truth.task == "multilabel":
        raise InputError(f"{truth.name} decides several labels of an image; labels need a classifier of single classes")
    used = next(
        (name for name, identity in identities.items() if identity in (truth.identity, weights_of(truth))), None
    )
    if used is not None:
        raise InputError(
            f"{truth.name} is the {used} that took part in making the images; name another classifier with --truth"
        )


def as_groups(made: ImageSet, truth: Classifier) -> tuple[ImageSet, list[dict[str, str]]]:
    """Generated images with their classes as groups, and what another classifier sees in them as labels.

    Args:
        made: with the class of each; where the provenance says that an image was not accepted, it is left out.
        truth: labels them.

    Returns:
        The set, and id and reason of each image that is left out.
    """
    groups, rejected, kept = classes_of(made), list[dict[str, str]](), list[int]()
    for row, text in enumerate(made.column("provenance")):
        origin = json.loads(str(text or "{}"))
        if origin.get("accepted") is False or groups[row] is None:
            reason = origin.get("reason") or "nothing says which group it is of"
            rejected.append({"id": made.ids[row], "reason": str(reason)})
        else:
            kept.append(row)
    few = made.select(kept)
    labels = list[int]()
    if kept:
        pictures = torch.stack([truth.prepare(few.read(row)) for row in range(len(few))])
        with torch.no_grad():
            labels = truth.predict(truth(pictures.to(truth.device))).tolist()
    columns: dict[str, list[object]] = {"label": [*labels], "group": [groups[row] for row in kept]}
    table = few.table.drop_columns([name for name in columns if name in few.table.column_names])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, COLUMNS[name]))
    return replace(few, table=table, class_names=truth.class_names), rejected


def label_note(made: ImageSet, truth: Classifier) -> str:
    """Whose the labels and the groups are, and how many images got each label: one label for all is a warning.

    Args:
        made: the set that was written.
        truth: labelled it.
    """
    counts = Counter(classes_of(made)).most_common()
    if len(counts) == 1 and len(truth.class_names) > 1:
        return (
            f"warning: {truth.name} sees {counts[0][0]!r} in all {len(made)} images. Unless all of them show it, it is "
            f"a classifier of other images: name another one with --truth"
        )
    seen = ", ".join(f"{name} {count}" for name, count in counts)
    return (
        f"labels here are by {truth.name}, which guided nothing, and only the draws are by the guide: {seen}; the "
        f"requested classes are the groups"
    )


def equally_many(
    rows: Sequence[dict[str, str]], requested: Sequence[str]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The first rows of each group, as many as the rarest one has, and id and reason of the others.

    >>> rows = [{"id": str(at), "group": name} for at, name in enumerate(["red", "red", "blue"])]
    >>> kept, others = equally_many(rows, ["red", "blue"])
    >>> [row["id"] for row in kept], others
    (['0', '2'], [{'id': '1', 'reason': "one more of group 'red' than the rarest group has"}])

    Args:
        rows: of a manifest, with ``group``.
        requested: the groups.

    Raises:
        InputError: no image of a group.
    """
    counts = Counter(row["group"] for row in rows)
    missing = next((name for name in requested if not counts[name]), None)
    if missing is not None:
        raise InputError(f"no image of the group {missing!r} was generated, so that the groups cannot be balanced")
    least, taken = min(counts.values()), Counter[str]()
    kept, others = list[dict[str, str]](), list[dict[str, str]]()
    for row in rows:
        taken[row["group"]] += 1
        if taken[row["group"]] <= least:
            kept.append(row)
        else:
            reason = f"one more of group {row['group']!r} than the rarest group has"
            others.append({"id": row["id"], "reason": reason})
    return kept, others
