"""Arrays of every image as columns of the clean evidence, and back."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.properties import ImageProperties

SCORES, FEATURES, PIXEL_HASH = "scores", "features", "pixel_hash"
PROPERTY, FINGERPRINT = "property.", "fingerprint."


def array_column(values: NDArray) -> pa.Array:
    """An array (n, …) as a column: numbers for (n,), lists of equal length for more axes."""
    if values.ndim == 1:
        return pa.array(values)
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), width)


def read_array(table: pa.Table, name: str, shape: tuple[int, ...] = ()) -> NDArray | None:
    """The column as an array (n, *shape), (n, d) when no shape is given for lists; None without the column or rows."""
    if name not in table.column_names or not len(table):
        return None
    column = table[name]
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    return pc.list_flatten(column).to_numpy().reshape(len(table), *(shape or (column.type.list_size,)))


def fingerprint_columns(found: Fingerprints) -> dict[str, pa.Array]:
    """One column for each part of the fingerprints."""
    return {FINGERPRINT + part.name: array_column(getattr(found, part.name)) for part in fields(Fingerprints)}


def read_fingerprints(table: pa.Table) -> Fingerprints | None:
    """Fingerprints from their columns; None where they were not kept."""
    shapes = {"thumbnails": (16, 16), "chroma": (2, 4, 4)}
    parts = {
        part.name: read_array(table, FINGERPRINT + part.name, shapes.get(part.name, ()))
        for part in fields(Fingerprints)
    }
    known = {name: values for name, values in parts.items() if values is not None}
    return Fingerprints(**known) if len(known) == len(parts) else None


def property_columns(found: ImageProperties) -> dict[str, pa.Array]:
    """One column for each property."""
    return {PROPERTY + name: array_column(values) for name, values in found.by_name().items()}


def read_properties(table: pa.Table) -> ImageProperties | None:
    """Properties from their columns; None where they were not kept."""
    parts = {part.name: read_array(table, PROPERTY + part.name) for part in fields(ImageProperties)}
    known = {name: values for name, values in parts.items() if values is not None}
    return ImageProperties(**known) if len(known) == len(parts) else None
