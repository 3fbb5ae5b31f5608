"""Images with stable ids, and what is known about each: label, unit, group, split, mask, caption, provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, LabelsHiddenError
from snellen.core.preprocessing import Stated
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness

Split = Literal["train", "val", "test"]

#: From so many class names on, one may occur twice: ImageNet has two kinds of crane.
MANY_CLASSES = 1000

#: What may be known about an image. ``id`` is required; everything else may be missing, or null for one image.
COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "label": pa.int64(),  # index into class_names (single and ordinal tasks)
    "labels": pa.list_(pa.int8()),  # 0/1 for each class (multilabel), −1 where unknown
    "unit_id": pa.string(),  # patient, lot, video: what is drawn independently
    "group": pa.string(),  # hospital, camera, background: what must not matter
    "group_factors": pa.string(),  # JSON object: several groups of an image by name, such as hospital and scanner
    "split": pa.string(),  # train, val or test
    "mask": pa.string(),  # path of the object's mask
    "boxes": pa.list_(pa.list_(pa.float32())),  # x0, y0, x1, y1 in pixels of the original
    "caption": pa.string(),
    "attributes": pa.string(),  # JSON object
    "bag_id": pa.string(),  # slide of a tile
    "bag_label": pa.int64(),  # index into class_names of the bag's own label; a label-free view may read it
    "provenance": pa.string(),  # JSON of Provenance
}


class Provenance(BaseModel):
    """Where an image came from.

    >>> Provenance(origin="generated", generator="sd-1.5", prompt="a cat in snow", seed=7).seed
    7
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: Literal["real", "generated", "edited"] = "real"
    generator: str | None = Field(None, description="reference of the model that made it")
    prompt: str | None = None
    seed: int | None = None
    source_id: str | None = Field(None, description="id of the image it was made from")
    guidance_scale: float | None = Field(None, description="1 means no guidance")
    accepted: bool | None = Field(None, description="whether a filter accepted it")
    reason: str | None = Field(None, description="why it was accepted or refused")


class ImageSource(Protocol):
    """Where pixels come from; row ``index`` of the source, not of a selection."""

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB, at its own size. Raises RejectedImageError with the reason when it cannot."""
        ...

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of one image (sha256, hex), without decoding."""
        ...


@runtime_checkable
class MaskSource(Protocol):
    """A source that has masks too."""

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one image ("L"), given what its column ``mask`` says. Raises RejectedImageError when it cannot."""
        ...


@runtime_checkable
class MaskFiles(Protocol):
    """A source whose masks are stored by themselves, so that :meth:`ImageSource.content_hash` does not cover them."""

    def mask_hash(self, index: int, path: str) -> str | None:
        """Hash of the stored bytes of one mask (sha256, hex), or of the reason why it cannot be had, without decoding;
        None where the content of the image covers it.
        """
        ...


class Opened(NamedTuple):
    """A source, and as JSON values what ``load_images`` made it of: another process can make the same."""

    source: ImageSource
    reference: Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """One image with what is known about it."""

    id: str
    image: Image.Image
    label: int | None


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images with stable ids; selecting from it copies no pixels.

    >>> class Plain:
    ...     def read(self, index):
    ...         return Image.new("RGB", (4, 4), (index, 0, 0))
    ...     def content_hash(self, index):
    ...         return str(index)
    >>> table = pa.table({"id": ["a", "b", "c"], "label": [0, 1, 1]})
    >>> images = ImageSet(Plain(), table, class_names=("cat", "dog"), name="pets")
    >>> images.select([2, 0])
    ImageSet('pets', 2 images, 2 classes, split=None)
    >>> images.select([2, 0])[0].image.getpixel((0, 0))
    (2, 0, 0)
    >>> images.unlabelled().labels
    Traceback (most recent call last):
    snellen.core.errors.LabelsHiddenError: pets: a label-free method touched the labels

    Args:
        source: where pixels come from.
        table: one row per image, columns from :data:`COLUMNS` (further ones are kept and ignored).
        class_names: names that ``label`` indexes; None when the set has no labels.
        name: shown in reports.
        rows: row of the source for each row of the table.
        split: the split that the whole set is; None when unknown or mixed.
        hidden: labels raise (see :meth:`unlabelled`).
        opened: what the source was loaded from; set by ``load_images``.
        stated: what the images say about the preprocessing of a model that is used on them, such as a data set with a
            transform.
        notes: what was done to the pixels when they were loaded; shown in reports.
    """

    source: ImageSource
    table: pa.Table
    class_names: tuple[str, ...] | None = None
    name: str = "images"
    rows: NDArray[np.int64] | None = None
    split: Split | None = None
    hidden: bool = False
    opened: Opened | None = field(default=None, repr=False)
    stated: Stated | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "id" not in self.table.column_names:
            raise InputError(f"an image table needs a column 'id'; got {', '.join(self.table.column_names)}")
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(len(self.table), dtype=np.int64))
        duplicate = _first_duplicate(self.ids)
        if duplicate is not None:
            raise InputError(f"image ids must be unique; {duplicate!r} occurs twice in {self.name}")
        alike = None if self.class_names is None else _first_duplicate(self.class_names)
        if alike is not None and len(self.class_names or ()) < MANY_CLASSES:
            raise InputError(f"{self.name}: {alike!r} occurs twice among the class names; give each class its own name")
        if self.class_names is not None and "label" in self.table.column_names:
            labels = self._labels()
            bad = np.flatnonzero((labels < -1) | (labels >= len(self.class_names)))
            if len(bad):
                raise InputError(
                    f"label {labels[bad[0]]} of image {self.ids[bad[0]]!r} is out of range for "
                    f"{len(self.class_names)} class names"
                )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Example:
        has_label = not self.hidden and "label" in self.table.column_names
        label = self.table["label"][index].as_py() if has_label else None
        return Example(self.table["id"][index].as_py(), self.read(index), None if label == -1 else label)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        labels = f"{len(self.class_names)} classes" if self.class_names and not self.hidden else "no labels"
        return f"ImageSet({self.name!r}, {len(self)} images, {labels}, split={self.split})"

    @property
    def reference(self) -> Mapping[str, Any] | None:
        """What the source was loaded from; None for one that was handed in, or changed since."""
        return self.opened.reference if self.opened is not None and self.opened.source is self.source else None

    @property
    def ids(self) -> list[str]:
        """Stable ids, in order."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @property
    def has_labels(self) -> bool:
        """Whether at least one image has a label, or labels, that this view may read."""
        if self.class_names is None or self.hidden:
            return False
        several = "labels" in self.table.column_names and self.table["labels"].null_count < len(self)
        return several or bool((self._labels() >= 0).any())

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index per image, int64 (n,); −1 where unknown.

        Raises:
            LabelsHiddenError: this is a label-free view.
        """
        if self.hidden:
            raise LabelsHiddenError(f"{self.name}: a label-free method touched the labels")
        return self._labels()

    @property
    def known_labels(self) -> NDArray[np.int64]:
        """Class index per image, int64 (n,); −1 where there is none, or where this view may not read it."""
        return self.labels if self.has_labels else np.full(len(self), -1, dtype=np.int64)

    @property
    def label_sets(self) -> NDArray[np.int8]:
        """Several labels an image, int8 (n, k): 1 where an image has the label, 0 where not, −1 where unknown.

        Raises:
            LabelsHiddenError: this is a label-free view.
        """
        self._check_hidden("labels")
        found = np.full((len(self), len(self.class_names or ())), -1, dtype=np.int8)
        if "labels" in self.table.column_names:
            rows = self.table["labels"].combine_chunks()
            known = rows.is_valid().to_numpy(zero_copy_only=False)
            values = rows.flatten().fill_null(-1).to_numpy(zero_copy_only=False)
            found[known] = values.reshape(known.sum(), found.shape[1])
        return found

    def of_label(self, place: int) -> ImageSet:
        """The same images with one of their labels as classes: without it, with it."""
        name = (self.class_names or ())[place]
        own = [None if one < 0 else int(one) for one in self.label_sets[:, place].tolist()]
        kept = [column for column in self.table.column_names if column not in ("label", "labels")]
        table = self.table.select(kept).append_column("label", pa.array(own, COLUMNS["label"]))
        return replace(self, table=table, class_names=(f"no {name}", name))

    @property
    def units(self) -> list[str]:
        """The unit (patient, lot, video) of each image; an image without one is a unit by itself.

        Names begin with "unit " or "image ", so that an id is never taken for a unit.
        """
        pairs = zip(self.ids, self.column("unit_id"), strict=True)
        return [f"image {one}" if unit is None else f"unit {unit}" for one, unit in pairs]

    def column(self, name: str) -> list[object]:
        """One column as Python values; None throughout if the set has no such column."""
        self._check_hidden(name)
        if name not in self.table.column_names:
            return [None] * len(self)
        values: list[object] = self.table[name].to_pylist()
        return values

    def _check_hidden(self, name: str) -> None:
        if self.hidden and name in {"label", "labels", "true_label"}:
            raise LabelsHiddenError(f"{self.name}: a label-free method touched the labels")

    def read(self, index: int) -> Image.Image:
        """Decode one image (RGB, at its own size). Raises RejectedImageError with the reason when it cannot."""
        return self.source.read(self._row(index))

    def read_mask(self, index: int) -> Image.Image | None:
        """Mask of one image ("L", 255 on the object, at the image's own size); None where there is none.

        Raises:
            RejectedImageError: the mask cannot be read, with the reason.
            InputError: the source of this set cannot read masks.
        """
        path = self.table["mask"][index].as_py() if "mask" in self.table.column_names else None
        if path is None:
            return None
        if not isinstance(self.source, MaskSource):
            raise InputError(f"{self.name} names masks, but {type(self.source).__name__} cannot read them")
        return self.source.read_mask(self._row(index), path)

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of one image (sha256, hex)."""
        return self.source.content_hash(self._row(index))

    def mask_hash(self, index: int) -> str | None:
        """Hash of the stored bytes of one mask (sha256, hex); None without a mask, or where the image covers it."""
        path = self.table["mask"][index].as_py() if "mask" in self.table.column_names else None
        if path is None or not isinstance(self.source, MaskFiles):
            return None
        return self.source.mask_hash(self._row(index), path)

    def fingerprint(self, progress: Progress | None = None) -> str:
        """Hash of everything that can change a result: ids, labels, class names and contents (sha256, hex).

        Reads every image's bytes once; ``progress`` receives updates.
        """
        listener = progress or Silent()
        listener.begin("hashing images", len(self))
        digest = hashlib.sha256(repr(self.class_names).encode())
        several = self.table["labels"].to_pylist() if "labels" in self.table.column_names else [None] * len(self)
        contents: list[str] = []
        if "bag_label" in self.table.column_names:
            digest.update(repr([self.column("bag_id"), self.column("bag_label")]).encode())
        rows = zip(self.ids, self._labels().tolist(), several, strict=True)
        for index, (example_id, label, labels) in enumerate(rows):
            known = label if labels is None else labels
            contents.append(self.content_hash(index))
            digest.update(f"{len(example_id)}:{example_id}\0{known}\0{contents[-1]}\n".encode())
            listener.advance("hashing images", 1)
        listener.finish("hashing images")
        self.__dict__["content_hashes"] = contents
        return digest.hexdigest()

    @cached_property
    def content_hashes(self) -> list[str]:
        """Hash of each image's stored bytes, as :meth:`fingerprint` found them; read now if it was not read yet."""
        return [self.content_hash(index) for index in range(len(self))]

    def contents_fingerprint(self) -> str:
        """Hash of ids and contents alone, independent of order, labels and classes (sha256, hex)."""
        digest = hashlib.sha256()
        for example_id, content in sorted(zip(self.ids, self.content_hashes, strict=True)):
            digest.update(f"{len(example_id)}:{example_id}\0{content}\n".encode())
        return digest.hexdigest()

    def select(self, indices: Sequence[int] | NDArray[np.int64], *, name: str | None = None) -> ImageSet:
        """The images at these positions, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        assert self.rows is not None
        return replace(self, table=self.table.take(pa.array(chosen)), rows=self.rows[chosen], name=name or self.name)

    def limit(self, count: int, seed: int = 0) -> ImageSet:
        """At most ``count`` images, drawn at random without replacement and kept in their order."""
        if count >= len(self):
            return self
        if count < 1:
            raise InputError(f"a limit must be at least 1, got {count}")
        order = np.random.default_rng(Randomness(seed).generator("limit").initial_seed()).permutation(len(self))
        return self.select(np.sort(order[:count]))

    def of_split(self, split: Split) -> ImageSet:
        """The images whose ``split`` column says so, as a typed split."""
        splits = self.column("split")
        chosen = [index for index, value in enumerate(splits) if value == split]
        if not chosen:
            present = sorted({str(value) for value in splits if value is not None})
            raise InputError(f"{self.name} has no images of split {split!r}; it has: {', '.join(present) or 'none'}")
        return replace(self.select(chosen), split=split)

    def unlabelled(self) -> ImageSet:
        """A view for methods that promise to use no labels: touching them raises. Labels of bags stay readable."""
        return replace(self, hidden=True)

    def for_fitting(self) -> ImageSet:
        """This set, for training or for choosing between models; a test set raises."""
        if self.split == "test" or "test" in set(self.column("split")):
            raise InputError(f"{self.name} holds test images: nothing may be fitted to or selected on them")
        return self

    def _row(self, index: int) -> int:
        assert self.rows is not None
        return int(self.rows[index])

    def _labels(self) -> NDArray[np.int64]:
        if "label" not in self.table.column_names:
            return np.full(len(self), -1, dtype=np.int64)
        labels: NDArray[np.int64] = self.table["label"].fill_null(-1).to_numpy().astype(np.int64)
        return labels


def _first_duplicate(values: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((value for value in values if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]
