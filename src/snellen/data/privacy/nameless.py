"""An image set whose names are pseudonyms, in its table and in the reasons why an image cannot be read."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.factors import FACTORS, decoded, encoded, is_band
from snellen.core.images import COLUMNS, ImageSet, ImageSource, MaskFiles, MaskSource, Opened
from snellen.data.files.bags import TiledSource, tiled_source
from snellen.data.files.file_source import FileSource
from snellen.data.files.joining import JoinedSource
from snellen.data.files.shard_files import ShardFile
from snellen.data.privacy.pseudonyms import Pseudonyms

#: Columns of names: each becomes a pseudonym. Equal names stay equal, in all of them.
NAMES = ("id", "unit_id", "group", "bag_id")

#: Columns that stay. Names of files of masks are needed to read them; no command writes them.
KEPT = ("label", "labels", "split", "mask", "boxes", "bag_label", "tile_row", "tile_column")

#: Parameters that name a model or images, and a folder; a value that begins as a path is one as well.
_FOLDERS = frozenset({"textures", "sliders", "earlier"})
_REFERENCES = frozenset(
    {
        "surrogate",
        "classifier",
        "generator",
        "text_image",
        "second_encoder",
        "fit_on",
        "segmenter",
        "detector",
        "instructor",
        "inpainter",
        "language",
        "model",
        "synonyms",
        "captioner",
        "describer",
        "remembered",
        "denoiser",
        "benign",
        "clean",
        "renderer",
        "judge",
        "backbone",
        "policy",
        "training",
    }
)
_PATH = re.compile(r"/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\")

#: What stands in a reason where a name stood.
HIDDEN = "…"


def without_names(images: ImageSet, pseudonyms: Pseudonyms) -> ImageSet:
    """The same images with a pseudonym for every id, unit, group, bag, and for the name of the set.

    Captions, provenance and further columns are left out, of attributes all but the place of a tile. Names of classes
    stay: they are those of the classifier. Images come in the order of their pseudonyms: in that of their names, the
    first pseudonym would be the first patient of a list.

    Raises:
        InputError: two names have the same pseudonym.
    """
    columns = {name: images.table[name] for name in KEPT if name in images.table.column_names}
    for name in NAMES:
        if name in images.table.column_names:
            columns[name] = pa.array(pseudonyms.all_of(images.table[name].to_pylist()), COLUMNS[name])
    if FACTORS in images.table.column_names:
        values = decoded(images.table[FACTORS].to_pylist())
        columns[FACTORS] = pa.array(encoded(_nameless_factors(values, pseudonyms)), COLUMNS[FACTORS])
    if "attributes" in images.table.column_names:
        places = [_place_of_tile(text) for text in images.table["attributes"].to_pylist()]
        columns["attributes"] = pa.array(places, COLUMNS["attributes"])
    source = nameless_source(images, pseudonyms.names)
    reference = images.reference
    hidden_set = replace(
        images,
        source=source,
        table=pa.table(columns),
        name=pseudonyms.of(images.name),
        opened=None if reference is None else Opened(source, {**reference, "nameless": True}),
    )
    return hidden_set.select(np.argsort(np.array(hidden_set.ids, dtype=np.str_)))


def _nameless_factors(
    values: Mapping[str, Sequence[str | None]], pseudonyms: Pseudonyms
) -> dict[str, list[str | None]]:
    """Pseudonyms for the values of each factor; its name stays, and so do bands of numbers."""
    found: dict[str, list[str | None]] = {}
    for name, level in values.items():
        hidden_names = pseudonyms.all_of(list(level))
        pairs = zip(level, hidden_names, strict=True)
        found[name] = [one if one is not None and is_band(one) else other for one, other in pairs]
    return found


def with_other_name(classifier: Classifier, pseudonyms: Pseudonyms) -> Classifier:
    """The same model, accounts included, under a name that holds no file's name, in its notes either."""
    other = copy.copy(classifier)
    other.name = pseudonyms.of_model(classifier.name)
    if other.name != classifier.name:
        stated = [classifier.name, classifier.name.partition(":")[2].rpartition("@")[2]]
        other.notes = tuple(hidden(note, stated) for note in classifier.notes)
    if classifier.reference is not None:
        other.reference = {**classifier.reference, "name": other.name}
    return other


def nameless_record(record: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    """Parameters of a method or check, with pseudonyms for files and folders, and for models that are such.

    >>> from snellen.data.privacy.pseudonyms import KEY_BYTES
    >>> nameless_record({"textures": "/home/doe/frost", "steps": 3}, Pseudonyms(bytes(KEY_BYTES)))
    {'textures': 'p-ubz6xmpfy6bkjlna', 'steps': 3}
    """
    return {name: _nameless_value(name, value, pseudonyms) for name, value in record.items()}


def hidden_references(record: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, str]:
    """What a method's parameters name that may not be written, and what is written instead; longest first.

    Files are also hidden by their bare names, which is how models call themselves in what they make.

    >>> from snellen.data.privacy.pseudonyms import KEY_BYTES
    >>> found = hidden_references({"generator": "diffusers:/home/doe/model"}, Pseudonyms(bytes(KEY_BYTES)))
    >>> [name.partition(":")[2] for name in found]
    ['/home/doe/model', 'model']
    """
    found: dict[str, str] = {}
    for raw, hidden in _pairs(record, nameless_record(record, pseudonyms)):
        found[raw] = hidden
        scheme, colon, place = raw.rpartition(":")
        found[f"{scheme}{colon}{PurePath(place).name}"] = hidden
    return {raw: found[raw] for raw in sorted(found, key=len, reverse=True)}


def with_hidden(text: str, references: Mapping[str, str]) -> str:
    """A text in which references are replaced; see :func:`hidden_references`."""
    for raw, hidden in references.items():
        text = text.replace(raw, hidden)
    return text


def _pairs(record: object, hidden: object) -> Iterator[tuple[str, str]]:
    if isinstance(record, Mapping) and isinstance(hidden, Mapping):
        for name, value in record.items():
            yield from _pairs(value, hidden[name])
    elif isinstance(record, list | tuple) and isinstance(hidden, list | tuple):
        for one, other in zip(record, hidden, strict=True):
            yield from _pairs(one, other)
    elif isinstance(record, str) and record and record != hidden:
        yield record, str(hidden)


def _nameless_value(name: str, value: object, pseudonyms: Pseudonyms) -> object:
    if isinstance(value, Mapping):
        return nameless_record(value, pseudonyms)
    if isinstance(value, list | tuple):
        return [_nameless_value(name, one, pseudonyms) for one in value]
    if not isinstance(value, str):
        return value
    if name in _REFERENCES:
        return pseudonyms.of_model(value)
    return pseudonyms.of(value) if name in _FOLDERS or _PATH.match(value) else value


def nameless_source(images: ImageSet, names: Mapping[str, str] | None = None) -> ImageSource:
    """The source of a set, which says why an image cannot be read without the names that the set knows of it.

    Args:
        images: the set with its names.
        names: name by pseudonym, by which a bag may be requested; none are known where there is no key.
    """
    kind = NamelessTiles if isinstance(images.source, TiledSource) else NamelessSource
    if isinstance(images.source, NamelessSource):
        return images.source
    return kind(images, names or {})


class NamelessSource:
    """A source whose reasons hold no name."""

    def __init__(self, images: ImageSet, names: Mapping[str, str]) -> None:
        self.images, self.names = images, names
        assert images.rows is not None
        self._places = {row: place for place, row in enumerate(images.rows.tolist())}

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB. Raises RejectedImageError with the reason, less the names in it."""
        try:
            return self.images.source.read(index)
        except RejectedImageError as error:
            raise RejectedImageError(hidden(str(error), self._known(index), self._spared())) from None

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one image ("L"). Raises RejectedImageError when it cannot be read."""
        if not isinstance(self.images.source, MaskSource):
            raise InputError("the source of these images cannot read masks")
        try:
            return self.images.source.read_mask(index, path)
        except RejectedImageError as error:
            raise RejectedImageError(hidden(str(error), [*self._known(index), path], self._spared())) from None

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of one image (sha256, hex)."""
        return self.images.source.content_hash(index)

    def mask_hash(self, index: int, path: str) -> str | None:
        """Hash of the stored bytes of one mask (sha256, hex); None where the content of the image covers it."""
        return self.images.source.mask_hash(index, path) if isinstance(self.images.source, MaskFiles) else None

    def _known(self, row: int) -> Iterator[str]:
        """Everything that names the image at a row of the source."""
        place = self._places.get(row)
        yield self.images.name
        yield from _files_of(self.images.source, row)
        for column in (*NAMES, "mask") if place is not None else ():
            if column in self.images.table.column_names:
                value = self.images.table[column][place].as_py()
                if value is not None:
                    yield str(value)

    def _spared(self) -> frozenset[str]:
        return frozenset(self.images.class_names or ())


class NamelessTiles(NamelessSource):
    """The same of tiles: the picture of a bag is found by its pseudonym."""

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """The whole bag as one picture; see :class:`~snellen.data.files.bags.TiledSource`."""
        return tiled_source(self.images).bag_thumbnail(self.names.get(bag_id, bag_id), longest)

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where tiles lie in their bags; see :class:`~snellen.data.files.bags.TiledSource`."""
        return tiled_source(self.images).tile_boxes(rows)


@runtime_checkable
class _Sharded(Protocol):
    """A source of files that hold many images each."""

    shards: Sequence[ShardFile]
    places: NDArray[np.int64]


def _files_of(source: ImageSource, row: int) -> Iterator[str]:
    """Names of files and sets by which a source may call one of its rows."""
    if isinstance(source, FileSource):
        yield from (source.paths[row], source.root.name)
    elif isinstance(source, _Sharded):
        shard = source.shards[int(source.places[row][0])]
        yield from (shard.shown_as, shard.name, shard.root.name)
    elif isinstance(source, JoinedSource):
        part, position = source.find(row)
        yield from (part.name, part.ids[position])
        assert part.rows is not None
        yield from _files_of(part.source, int(part.rows[position]))


def hidden(reason: str, names: Iterable[str], spared: Iterable[str] = ()) -> str:
    """A reason without some names, and without the parts of paths among them; a single letter names nobody.

    >>> hidden("slide ward 3/Jane Doe.svs is damaged: Jane Doe.svs is no TIFF", ["ward 3/Jane Doe.svs"])
    'slide … is damaged: … is no TIFF'
    >>> hidden("not a file but a folder", ["a/1.png"], spared=["a"])
    'not a file but a folder'

    Args:
        reason: in words.
        names: of what the reason is about.
        spared: words that are no names where they stand for a part of a path, such as classes.
    """
    whole = {name for name in names if name}
    parts = {part for name in whole for part in _parts(name)} - set(spared)
    forms = {form for one in whole | parts for form in (one, repr(one)[1:-1])}
    for form in sorted((form for form in forms if len(form) > 1), key=len, reverse=True):
        # Whole words: the image "12" must not take digits out of a number.
        before, after = (r"(?<!\w)" if form[0].isalnum() else ""), (r"(?!\w)" if form[-1].isalnum() else "")
        reason = re.sub(f"{before}{re.escape(form)}{after}", HIDDEN, reason)
    return reason


def _parts(name: str) -> Iterator[str]:
    """Folders, the file and its stem."""
    path = PurePosixPath(name.replace("\\", "/"))
    yield from (part for part in path.parts if part != "/")
    if path.stem:
        yield path.stem


def _place_of_tile(text: object) -> str | None:
    """Row and column of a tile, where attributes say them as numbers."""
    try:
        place = json.loads(str(text))
        return json.dumps({name: int(place[name]) for name in ("row", "column")})
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
