"""What a Parquet file says about its images before one is read: columns, class names, row groups, all within limits.

Only plain Arrow types are taken: an extension type may bring code of its own, and what a file's metadata names is never
imported. From the metadata that ``datasets`` writes, the names of classes are read, as text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.data.files.labels import MAX_CLASSES
from snellen.data.files.manifest import is_text

#: Names of the column that holds the images, the first that is there.
IMAGE_COLUMNS = ("image", "img")

#: Largest row group (unpacked bytes), most columns, and largest description of the classes.
MAX_GROUP_BYTES, MAX_COLUMNS, MAX_METADATA_BYTES = 1024**3, 1_000, 16 * 1024**2

#: Depth to which types may be nested.
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Layout:
    """How a file holds its images.

    Attributes:
        image: the column with the images.
        structured: whether each is {bytes, path}, not bytes alone.
        label: the column with the classes, or None.
        class_names: of the classes, by number, or None.
        known: further columns of :data:`snellen.core.images.COLUMNS`.
    """

    image: str
    structured: bool
    label: str | None
    class_names: tuple[str, ...] | None
    known: tuple[str, ...]


def holds_images(schema: pa.Schema) -> bool:
    """Whether a file holds images, and is no manifest, which names files in a column ``path``, nor something else."""
    kinds = {field.name: _image_kind(field.type) for field in schema}
    named = any(kinds.get(name) is not None for name in IMAGE_COLUMNS)
    return "path" not in kinds and (named or "struct" in kinds.values())


def layout_of(schema: pa.Schema, what: str, label: str | None = None) -> Layout:
    """Find the columns that matter.

    Args:
        schema: of the file.
        what: how errors name the file.
        label: the column with the classes; None: ``label``, or the only one that the metadata call classes.

    Raises:
        InputError: no column of images or too many, a type that is not plain, or a description that makes no sense.
    """
    if len(schema.names) > MAX_COLUMNS or len(set(schema.names)) < len(schema.names):
        raise InputError(f"{what} has {len(schema.names)} columns, some of one name or more than {MAX_COLUMNS}")
    for field in schema:
        _check_plain(field, field.name, what)
    images = [field.name for field in schema if _image_kind(field.type) is not None]
    chosen = next((name for name in IMAGE_COLUMNS if name in images), images[0] if len(images) == 1 else None)
    if chosen is None:
        held = f"several: {', '.join(map(repr, images[:5]))}; call one of them 'image'" if images else "none"
        raise InputError(f"{what} needs one column of images (bytes, or a struct of bytes and path); it has {held}")
    classes = _described_classes(schema, what)
    found = _label_column(schema, classes, what, label)
    # Others call the column of classes "labels"; here it holds several labels for each image.
    several = {"labels"} if "labels" in schema.names and not pa.types.is_nested(schema.field("labels").type) else set()
    unused = {chosen, found, "label", "mask", *several}
    known = tuple(name for name in schema.names if name in COLUMNS and name not in unused)
    return Layout(chosen, _image_kind(schema.field(chosen).type) == "struct", found, classes.get(found or ""), known)


def _image_kind(kind: pa.DataType) -> str | None:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type  # is refused by name
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    if not pa.types.is_struct(kind):
        return None
    place = kind.get_field_index("bytes")
    return "struct" if place >= 0 and _image_kind(kind.field(place).type) == "binary" else None


def _check_plain(field: pa.Field, name: str, what: str, depth: int = 0) -> None:
    """Refuse types that bring a meaning, or code, of their own."""
    named = (field.metadata or {}).get(b"ARROW:extension:name")
    if isinstance(field.type, pa.BaseExtensionType) or named is not None:
        shown = named.decode("utf-8", "replace")[:80] if named is not None else str(field.type)[:80]
        raise InputError(f"{what}, column {name!r}: extension type {shown}; only plain types are read, store it as one")
    if depth > _MAX_DEPTH:
        raise InputError(f"{what}, column {name!r}: types nested more than {_MAX_DEPTH} deep")
    if pa.types.is_dictionary(field.type):
        _check_plain(pa.field(field.name, field.type.value_type), name, what, depth + 1)
        return
    for number in range(field.type.num_fields):
        _check_plain(field.type.field(number), name, what, depth + 1)


def _described_classes(schema: pa.Schema, what: str) -> dict[str, tuple[str, ...]]:
    """Class names by column, from what ``datasets`` writes beside the columns; nothing else of it is used."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    if len(text) > MAX_METADATA_BYTES:
        raise InputError(f"{what}: its description has {len(text)} bytes, more than {MAX_METADATA_BYTES}")
    try:
        features = json.loads(text)["info"]["features"]
        given = {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names") is not None
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # not what datasets writes: there are no names, and numbers stay numbers
    for name, names in given.items():
        if not isinstance(names, list) or not all(isinstance(one, str) and is_text(one) for one in names):
            raise InputError(f"{what}, column {name!r}: names of classes must be a list of texts")
        if not 0 < len(names) <= MAX_CLASSES or len(set(names)) < len(names):
            raise InputError(f"{what}, column {name!r}: {len(names)} names of classes, or one twice")
    return {name: tuple(names) for name, names in given.items() if name in schema.names}


def _label_column(schema: pa.Schema, classes: dict[str, tuple[str, ...]], what: str, label: str | None) -> str | None:
    if label is not None and label not in schema.names:
        raise InputError(f"{what} has no column {label!r}; it has: {', '.join(schema.names[:12])}")
    if label is not None or "label" in schema.names:
        return label or "label"
    if len(classes) > 1:
        raise InputError(
            f"{what} has {len(classes)} columns of classes ({', '.join(sorted(classes)[:5])}) and none called 'label'; "
            f"choose one in Python: load_parquet_images(..., label={sorted(classes)[0]!r})"
        )
    return next(iter(classes), None)
