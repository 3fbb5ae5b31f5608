"""The truth about planted defects, in columns of the image table.

``true_label`` holds the label before any defect changed it (int64; null where unknown, and in the parts of a joined
set that no defect has touched: there the label is the truth). ``planted`` holds a JSON object for each row: what each
defect did to it, by the name of the defect; "{}" where nothing was done. ``group`` says on which side of a correlation
a row lies, where a defect makes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, ImageSource

TRUE_LABEL, PLANTED = "true_label", "planted"

#: What was done to one row.
Entry = Mapping[str, str | int | float | bool | Sequence[str] | None]


def planted_of(images: ImageSet, key: str) -> list[dict[str, object] | None]:
    """What the defect of this name did to each row; None where it did nothing.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((2, 4, 4), dtype=np.uint8), [0, 1])
    >>> planted_of(with_truth(images, "fog", [None, {"strength": 2}]), "fog")
    [None, {'strength': 2}]
    """
    return [json.loads(str(text)).get(key) if text is not None else None for text in images.column(PLANTED)]


def true_labels(images: ImageSet) -> NDArray[np.int64]:
    """Labels before any planted defect changed them: int64 (n,), −1 where unknown.

    Raises:
        LabelsHiddenError: this is a label-free view.
    """
    shown = images.labels
    if TRUE_LABEL not in images.table.column_names:
        return shown
    column = images.table[TRUE_LABEL]
    if pa.types.is_string(column.type):  # names, as manifests hold them
        index = {name: number for number, name in enumerate(images.class_names or ())}
        known = np.asarray([index.get(str(name), -1) for name in column.to_pylist()], dtype=np.int64)
    else:
        known = column.fill_null(-1).to_numpy().astype(np.int64)
    # No defect makes an unknown label known: a label without the truth beside it is of a part that none has touched.
    untouched: NDArray[np.int64] = np.where(known < 0, shown, known)
    return untouched


def with_truth(
    images: ImageSet,
    key: str,
    entries: Sequence[Entry | None],
    *,
    labels: NDArray[np.int64] | None = None,
    groups: Sequence[str | None] | None = None,
    source: ImageSource | None = None,
) -> ImageSet:
    """Write down what a defect did.

    Args:
        images: before.
        key: name of the defect.
        entries: what was done to each row.
        labels: what labels are from now on, (n,), −1 where unknown; None leaves them. ``true_label`` keeps the first.
        groups: group of each row, None where the defect says nothing; joined to the group that a row has already.
        source: pixels from now on, one row of the source for each row; None leaves them.

    Raises:
        InputError: a row has an entry under this name already.
    """
    table = set_column(images.table, PLANTED, _planted(images, key, entries))
    if labels is not None:
        table = set_column(table, TRUE_LABEL, _label_column(true_labels(images)))
        table = set_column(table, "label", _label_column(labels))
    if groups is not None:
        pairs = zip(images.column("group"), groups, strict=True)
        joined = [" / ".join(str(one) for one in pair if one is not None) or None for pair in pairs]
        table = set_column(table, "group", pa.array(joined, COLUMNS["group"]))
    if source is None:
        return replace(images, table=table)
    return replace(images, table=table, source=source, rows=np.arange(len(table), dtype=np.int64))


def set_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The table with this column, in the place that it has already or at the end."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def _planted(images: ImageSet, key: str, entries: Sequence[Entry | None]) -> pa.Array:
    texts = []
    for example_id, text, entry in zip(images.ids, images.column(PLANTED), entries, strict=True):
        if entry is None:
            texts.append("{}" if text is None else text)
            continue
        record = {} if text is None else json.loads(str(text))
        if key in record:
            raise InputError(
                f"{images.name}: a defect {key!r} is planted already (image {example_id!r}); give the second one "
                f"another key, as in key='{key}_2'"
            )
        texts.append(json.dumps(record | {key: entry}, sort_keys=True, ensure_ascii=False))
    return pa.array(texts, pa.string())


def _label_column(labels: NDArray[np.int64]) -> pa.Array:
    return pa.array(labels, COLUMNS["label"], mask=labels < 0)
