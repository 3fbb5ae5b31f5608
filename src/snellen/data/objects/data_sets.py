"""Data sets of torch, torchvision, Hugging Face and MAITE, and plain lists: objects that give an image by its
number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.data.factors import Factor
from snellen.data.files.contained_file import distinguished, printable
from snellen.data.files.manifest_table import SHORT, renamed
from snellen.data.files.pictures import Values, picture_of
from snellen.data.objects.item_source import item_set
from snellen.data.objects.transforms import normalization_of, values_of

#: Names of fields that hold the image, and the label, in items that are mappings.
_IMAGE, _LABEL = ("image", "img", "pixel_values"), ("label", "labels", "fine_label")

#: Samplers of a data loader that give every item of its data set.
_WHOLE = ("SequentialSampler", "RandomSampler")


def is_data_set(value: object) -> bool:
    """Whether a value gives images by number, or is a loader of such a set."""
    if isinstance(value, str | bytes | Mapping | np.ndarray | Tensor | Image.Image):
        return False
    return hasattr(value, "dataset") or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))


def load_data_set(
    data: Any,  # noqa: ANN401 - of any library
    *,
    columns: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    labels: Sequence[object] | None = None,
    values: Values | None = None,
    name: str | None = None,
) -> ImageSet:
    """An image set of a data set in memory, read item by item as it is needed.

    An item is an image, a pair (image, label), a mapping with an image and a label, or MAITE's (image, target,
    metadata). Names of classes are those of the set where it has some. Tensors that a transform of torchvision or timm
    made are turned back into the bytes that they came from, and its normalisation becomes that of a model which is used
    on the set.

    Args:
        data: anything with ``__getitem__`` and ``__len__``: a torch data set or a loader of one, a torchvision
            ``ImageFolder``, a Hugging Face data set, a MAITE data set, or a list of paths, pictures or arrays.
        columns: what the fields of an item, or of its metadata, mean.
        class_names: names of classes that are numbered.
        labels: of the items, where they have none.
        values: what floating-point pixels mean, where no transform says it.
        name: shown in reports.

    Raises:
        InputError: a loader that cannot be read by number, or items in which no image can be found.
    """
    items = _Items.of(data, columns)
    if not items.count:
        raise InputError(f"{items.shown_as} holds no images")
    read_from = None if values is not None else values_of(items.attribute("transform"))
    known = values or read_from
    notes = items.look(known)
    return item_set(
        lambda index: picture_of(items.image(index), known),
        items.columns(labels),
        items.count,
        name=name or items.name,
        shown_as=items.shown_as,
        class_names=class_names or items.class_names(),
        stated=items.stated(read_from),
        notes=notes,
    )


def field_values(data: Any, texts: Sequence[str]) -> dict[str, list[object]]:  # noqa: ANN401 - of any library
    """Values of some fields of all items of a data set, or of their metadata.

    Args:
        data: as for :func:`load_data_set`.
        texts: names of fields, with edges of bands behind a colon.

    Raises:
        InputError: the items have no such field.
    """
    items = _Items.of(data, None)
    there = items.field_names
    names = {text: Factor.read(text, there).name for text in texts}
    for name in names.values():
        if name not in there:
            raise unknown_name(f"field of {items.shown_as} for a group", name, there)
    columns = getattr(items.data, "column_names", None)
    if items.chosen is None and isinstance(columns, list) and set(names.values()) <= set(columns):
        return {text: [_plain(value) for value in items.data[name]] for text, name in names.items()}
    held = [_fields(items.item(index)) for index in range(items.count)]
    return {text: [_plain(row.get(name)) for row in held] for text, name in names.items()}


@dataclass(frozen=True, eq=False)
class _Items:
    """Items of a data set by number, and what may be known about all of them at once.

    Attributes:
        data: the set.
        fields: field of an item, or of its metadata → column of an image table.
        chosen: numbers in the set of the items that are meant; None: all.
    """

    data: Any
    fields: Mapping[str, str]
    chosen: Sequence[int] | None = None

    @classmethod
    def of(cls, data: Any, columns: Mapping[str, str] | None) -> _Items:  # noqa: ANN401
        chosen = None
        if hasattr(data, "dataset") and not hasattr(data, "__getitem__"):
            data, chosen = _of_loader(data)
        if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            raise InputError(
                f"a {type(data).__name__} gives no images by number; pass a data set with __getitem__ and __len__, or "
                f"(images, labels) as arrays"
            )
        found = cls(data, {}, chosen)
        if columns:
            found = cls(data, renamed(columns, found.field_names, found.shown_as), chosen)
        return found

    @property
    def shown_as(self) -> str:
        kind = type(self.data).__name__
        return f"the {kind}" if kind in ("list", "tuple") else f"the data set {kind}"

    @property
    def name(self) -> str:
        kind = type(self.data).__name__
        return "images" if kind in ("list", "tuple") else kind

    @property
    def count(self) -> int:
        return len(self.data) if self.chosen is None else len(self.chosen)

    def item(self, index: int) -> Any:  # noqa: ANN401
        return self.data[index if self.chosen is None else int(self.chosen[index])]

    @cached_property
    def first(self) -> Any:  # noqa: ANN401
        return self.item(0)

    @property
    def field_names(self) -> list[str]:
        """Names of the fields of an item that is a mapping, or of its metadata."""
        held = self.first if isinstance(self.first, Mapping) else _metadata(self.first)
        return [str(name) for name in held or ()]

    def image(self, index: int) -> object:
        """The image of an item, as it is held."""
        item = self.item(index)
        if isinstance(item, Mapping):
            return item[self._image_field]
        return item[0] if isinstance(item, tuple | list) else item

    @cached_property
    def _image_field(self) -> str:
        for theirs, ours in self.fields.items():
            if ours == SHORT["image"]:
                return theirs
        typed = [name for name, kind in self._features.items() if type(kind).__name__ == "Image"]
        named = [name for name in _IMAGE if name in self.first]
        found = typed or named
        if not found:
            raise InputError(
                f'{self.shown_as}: say which field holds the images, columns={{"image": "..."}}; its items have '
                f"{', '.join(self.field_names)}"
            )
        return found[0]

    @property
    def _label_field(self) -> str | None:
        if any(ours in ("label", "labels") for ours in self.fields.values()):
            return None  # it is read with the other columns
        typed = [name for name, kind in self._features.items() if type(kind).__name__ == "ClassLabel"]
        named = [name for name in _LABEL if name in self.first]
        return next(iter(typed or named), None)

    @property
    def _features(self) -> Mapping[str, object]:
        features = getattr(self.data, "features", None)
        return features if isinstance(features, Mapping) else {}

    def attribute(self, name: str) -> Any:  # noqa: ANN401
        """An attribute of the set, or of the one that it is a part of."""
        data = self.data
        while getattr(data, name, None) is None and hasattr(data, "dataset"):
            data = data.dataset
        return getattr(data, name, None)

    def rows_of(self, name: str) -> list[Any] | None:
        """An attribute that has a value for each item, for those that are meant; None where there is none."""
        data, numbers = self.data, range(len(self.data)) if self.chosen is None else self.chosen
        while getattr(data, name, None) is None and hasattr(data, "dataset") and hasattr(data, "indices"):
            data, numbers = data.dataset, [data.indices[number] for number in numbers]
        values = getattr(data, name, None)
        if values is None or callable(values) or not hasattr(values, "__len__") or len(values) != len(data):
            return None
        return [values[int(number)] for number in numbers]

    def columns(self, labels: Sequence[object] | None) -> dict[str, Sequence[object]]:
        """What is known of the items, by column of an image table."""
        known: dict[str, Sequence[object]] = {}
        if labels is not None:
            known["label"] = [_plain(label) for label in labels]
        elif (found := self._labels()) is not None:
            known["labels" if any(isinstance(one, list) for one in found) else "label"] = found
        wanted = {theirs: ours for theirs, ours in self.fields.items() if ours != SHORT["image"]}
        if wanted:
            held = [_fields(self.item(index)) for index in range(self.count)]
            known |= {ours: [_plain(row.get(theirs)) for row in held] for theirs, ours in wanted.items()}
        if "id" not in known and (ids := self._ids()) is not None:
            known["id"] = ids
        return known

    def _labels(self) -> list[object] | None:
        if isinstance(self.first, Mapping):
            field = self._label_field
            if field is None:
                return None
            columns = getattr(self.data, "column_names", None)
            whole = self.chosen is None and isinstance(columns, list) and field in columns
            rows = self.data[field] if whole else [self.item(index)[field] for index in range(self.count)]
            return [_plain(label) for label in rows]
        if self.attribute("target_transform") is None:
            for name in ("targets", "labels"):
                if (rows := self.rows_of(name)) is not None:
                    return [_plain(label) for label in rows]
        if not isinstance(self.first, tuple | list) or len(self.first) < 2:
            return None
        scores = _metadata(self.first) is not None
        return [_decided(label) if scores else _plain(label) for label in self._second()]

    def _second(self) -> Iterable[object]:
        return (self.item(index)[1] for index in range(self.count))

    def _ids(self) -> list[str] | None:
        if isinstance(self.data, list | tuple) and all(isinstance(one, str | os.PathLike) for one in self.data):
            return list(distinguished(printable(path) for path in _shortened([os.fspath(one) for one in self.data])))
        samples = self.rows_of("samples")
        if samples and all(isinstance(one, tuple) and isinstance(one[0], str) for one in samples):
            return list(distinguished(printable(path) for path in _shortened([one[0] for one in samples])))
        if _metadata(self.first) is not None and "id" in _fields(self.first):
            return [str(_fields(self.item(index))["id"]) for index in range(self.count)]
        return None

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, where the set has some."""
        for kind in self._features.values():
            if type(kind).__name__ == "ClassLabel" and getattr(kind, "names", None):
                return tuple(map(str, kind.names))  # type: ignore[attr-defined]
        named = self.attribute("classes")
        if isinstance(named, list | tuple) and named:
            return tuple(map(str, named))
        metadata = self.attribute("metadata")
        return numbered_names(metadata.get("index2label")) if isinstance(metadata, Mapping) else None

    def look(self, values: Values | None) -> list[str]:
        """See that the first image can be read, and is the same twice; gives what to note about it.

        Raises:
            InputError: it cannot, or it is another image each time.
        """
        try:
            once, again = (picture_of(self.image(0), values) for _ in range(2))
        except RejectedImageError as error:
            raise InputError(f"{self.shown_as}: its first image cannot be used: {error}") from error
        if once.tobytes() != again.tobytes():
            raise InputError(
                f"{self.shown_as} gives another image each time the same one is read; leave random transforms out"
            )
        held = np.asarray(self.image(0)) if hasattr(self.image(0), "__array__") else None
        if held is None or held.dtype.kind != "f":
            return []
        return ["floating-point pixels of the images are rounded to bytes"]

    def stated(self, values: Values | None) -> Stated | None:
        """What the set says about how a model takes its images."""
        first = self.image(0)
        if values is not None:
            width, height = picture_of(first, values).size
            size = Preprocessing(size=(height, width))
            return Stated("the transform of the images", size, normalization_of(values))
        whole = hasattr(first, "dtype") and str(first.dtype).endswith("uint8")
        maite = _metadata(self.first) is not None
        return Stated("the images, which are bytes", whole_bytes=True) if maite and whole else None


def numbered_names(numbered: object) -> tuple[str, ...] | None:
    """Names of classes of MAITE's ``index2label``, by number; numbers that it leaves out have a name that says so.

    >>> numbered_names({0: "cat", "2": "owl"})
    ('cat', 'class 1, without a name', 'owl')

    None where it is no such mapping, or leaves out more numbers than it names.
    """
    if not isinstance(numbered, Mapping) or not all(str(number).isdecimal() for number in numbered):
        return None
    names = {int(number): str(name) for number, name in numbered.items()}
    count = max(names, default=-1) + 1
    if not names or len(names) < len(numbered) or count > 2 * len(names):
        return None
    return tuple(names.get(number, f"class {number}, without a name") for number in range(count))


def _of_loader(loader: Any) -> tuple[Any, Sequence[int] | None]:  # noqa: ANN401
    """The data set of a loader, and the numbers of the items that it gives."""
    sampler: Any = getattr(loader, "sampler", None)
    kind = type(sampler).__name__
    if kind in _WHOLE:
        return loader.dataset, None
    if hasattr(sampler, "indices"):
        return loader.dataset, sorted(int(number) for number in sampler.indices)
    raise InputError(
        f"a data loader whose {kind or 'sampler'} does not give every image once; pass its data set (loader.dataset)"
    )


def _metadata(item: object) -> Mapping[str, Any] | None:
    """What MAITE says about one image: the third of three."""
    return item[2] if isinstance(item, tuple) and len(item) == 3 and isinstance(item[2], Mapping) else None


def _fields(item: object) -> Mapping[str, Any]:
    return item if isinstance(item, Mapping) else _metadata(item) or {}


def _plain(value: object) -> object:
    """A number or list of Python in place of one of NumPy or torch."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        found: object = value.tolist()
        return found[0] if isinstance(found, list) and len(found) == 1 else found
    return value


def _decided(target: object) -> object:
    """The class of a target that has a value for each class, as MAITE's have; a number stays."""
    held = np.asarray(target)
    return int(held.argmax()) if held.ndim == 1 and len(held) > 1 else _plain(held)


def _shortened(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them lie in."""
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute]) if absolute else ""
    return [os.path.relpath(path, shared).replace(os.sep, "/") for path in absolute]
