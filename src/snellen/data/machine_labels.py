"""Labels that ``snellen label`` made, as an image set: of one concept as classes, of several as labels of an image.

With the pool that was labelled, its patients, groups and bags stay, undecided images too, and bags get the label that
follows from their images: a bag is positive if one image of it is (Dietterich et al., "Solving the multiple instance
problem with axis-parallel rectangles", Artificial Intelligence 89, 1997).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.data.files.manifest import load_manifest
from snellen.data.files.manifest_table import read_table

SCHEME = "labelled:"

#: Of a labelling: its table, and the record that names its concept.
TABLE, RECORD = "labels.csv", "label.json"

#: Columns of the table that give the reasons for a machine label; they stay with the image.
REASONS = ("confidence", "rationale", "mined")

_FORM = "labelled:FOLDER, or labelled:FOLDER,FOLDER?pool=POOL; a folder is one that snellen label wrote"


@dataclass(frozen=True)
class Labelling:
    """The decided images of one concept.

    Attributes:
        concept: its name.
        labels: id of an image → 1 where it shows the concept, else 0.
        reasons: id of an image → confidence, rationale, and what brought it (:data:`REASONS`).
    """

    concept: str
    labels: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, str]]

    @property
    def class_names(self) -> tuple[str, str]:
        """Absence and presence, as the classifier of the labelling names them."""
        return f"not {self.concept}", self.concept


def read_labelling(folder: Path) -> Labelling:
    """What a run of ``snellen label`` decided.

    Raises:
        InputError: no such folder, one that it did not finish, or a table with other labels.
    """
    try:
        concept = str(json.loads((folder / RECORD).read_bytes())["definition"]["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no finished labelling ({RECORD}); known forms: {_FORM}") from error
    if not (folder / TABLE).is_file():
        raise InputError(f"{folder} holds no {TABLE}, the table of a labelling; known forms: {_FORM}")
    written = read_table(folder / TABLE)
    if not {"id", "label"} <= set(written.columns):
        raise InputError(f"{folder / TABLE} needs the columns id and label; it has: {', '.join(written.columns)}")
    names = (f"not {concept}", concept)
    labels, reasons = dict[str, int](), dict[str, dict[str, str]]()
    further = {name: written.further[name].to_pylist() for name in REASONS if name in written.further}
    for position, (one, label) in enumerate(zip(written.columns["id"], written.columns["label"], strict=True)):
        if label not in names:
            raise InputError(f"{folder / TABLE}, {written.rows[position]}: label must be one of {names}, not {label!r}")
        labels[str(one)] = names.index(label)
        reasons[str(one)] = {name: values[position] for name, values in further.items() if values[position]}
    return Labelling(concept, labels, reasons)


def with_machine_labels(pool: ImageSet, labellings: Sequence[Labelling]) -> ImageSet:
    """The images of a pool with the labels of machines in place of its own.

    One concept gives two classes, and images without a decision have no label. Several give the column ``labels`` (1,
    0, −1 where a machine did not decide). A bag is positive if an image of it shows the concept, negative if all its
    images were decided and none does, else unknown; of several concepts bags get no label. Columns such as
    ``confidence`` say what the machine did, of several concepts with its name behind (``confidence CONCEPT``).

    Args:
        pool: that was labelled, with its units, groups and bags.
        labellings: of one or more concepts, of different names.

    Raises:
        InputError: no labelling, the same concept twice, or labels of images that are not in the pool.
    """
    names = [one.concept for one in labellings]
    if not names or len(set(names)) < len(names):
        raise InputError(f"labellings must be of different concepts, one or more; got {', '.join(names) or 'none'}")
    ids = pool.ids
    for one in labellings:
        foreign = set(one.labels) - set(ids)
        if foreign:
            raise InputError(
                f"{len(foreign)} labelled images of {one.concept!r} are not in {pool.name} ({min(foreign)!r}); name "
                f"the pool that was labelled"
            )
    own = [f"{name} {one.concept}" for name in REASONS for one in labellings]
    replaced = {"label", "labels", "bag_label", "true_label", *REASONS, *own}
    table = pool.table.drop_columns([name for name in pool.table.schema.names if name in replaced])
    for one in labellings:
        for name in REASONS:
            column = name if len(labellings) == 1 else f"{name} {one.concept}"
            values = [one.reasons.get(key, {}).get(name) for key in ids]
            table = table.append_column(column, pa.array(values, pa.string()))
    decided = np.array([[one.labels.get(key, -1) for one in labellings] for key in ids], np.int64).reshape(len(ids), -1)
    columns: dict[str, list[Any]]
    if len(labellings) > 1:
        columns, classes = {"labels": decided.tolist()}, tuple(names)
    else:
        columns, classes = {"label": decided[:, 0].tolist()}, labellings[0].class_names
        if "bag_id" in table.schema.names:
            columns["bag_label"] = _labels_of_bags(pool.column("bag_id"), columns["label"])
    for column, labels in columns.items():
        table = table.append_column(column, pa.array(labels, COLUMNS[column]))
    undecided = int((decided < 0).all(1).sum())
    notes = (*pool.notes, f"labels by machine ({', '.join(names)}); {undecided} of {len(ids)} images undecided")
    return replace(pool, table=table, class_names=classes, hidden=False, notes=notes)


def _labels_of_bags(bags: Sequence[object], labels: Sequence[int]) -> list[int | None]:
    """For each image the label of its bag: the largest of its images', unknown where one that counts is."""
    of_bag = dict[object, list[int]]()
    for bag, label in zip(bags, labels, strict=True):
        of_bag.setdefault(bag, []).append(label)
    found = {bag: 1 if 1 in given else min(given) for bag, given in of_bag.items()}
    return [None if bag is None or found[bag] < 0 else found[bag] for bag in bags]


def load_reference(text: str, *, split: Split | None = None, name: str | None = None) -> ImageSet:
    """Load ``labelled:FOLDER`` or ``labelled:FOLDER,FOLDER?pool=POOL``; the reference of the pool goes to the end.

    Raises:
        InputError: no labelling, several without their pool, or as :func:`with_machine_labels`.
    """
    from snellen.data.references import load_images  # the pool is a reference itself

    places, given, pool = text.removeprefix(SCHEME).partition("?pool=")
    folders = [Path(place) for place in places.split(",") if place]
    if not folders or (given and not pool) or "?" in places:
        raise InputError(f"{text!r} names no labelling; known forms: {_FORM}")
    labellings = [read_labelling(folder) for folder in folders]
    if not pool and len(folders) > 1:
        raise InputError(f"several labellings are joined on the pool that they labelled: {text}?pool=POOL")
    if pool:
        images = load_images(pool)
        if split is not None and split not in images.column("split"):  # a pool that holds one split at a time
            images = load_images(f"{pool}#{split}")
    else:
        images = load_manifest(folders[0] / TABLE)
    found = with_machine_labels(images, labellings)
    if split is not None:
        found = found.of_split(split)
    return replace(found, name=name or " and ".join(one.concept for one in labellings))
