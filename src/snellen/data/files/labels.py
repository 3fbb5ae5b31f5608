"""Labels as they come, brought to columns and class names, and matched to the classes of a classifier by name."""

from __future__ import annotations

import difflib
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.errors import InputError, MissingExtraError, import_extra
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.listed_names import listed_names

#: Most classes that numbers may imply: a label of 2,000,000,000 is an identifier, not a class.
MAX_CLASSES = 100_000

#: Unmatched classes that an error names with the classes near to them; finding these takes long.
_NEAR = 5


def numbered_class_names(count: int) -> tuple[str, ...]:
    """Names of classes that are only numbered.

    >>> numbered_class_names(3)
    ('0', '1', '2')
    """
    return tuple(str(number) for number in range(count))


def label_columns(
    labels: NDArray[np.generic], count: int, *, what: str, class_names: Sequence[str] | None = None
) -> tuple[dict[str, pa.Array], tuple[str, ...]]:
    """Turn an array of labels for ``count`` images into a column of the image table, and class names.

    Args:
        labels: integers (n,) or (n, 1): a class for each image, −1 where unknown, giving the column ``label``; or 0/1
            (n, k), −1 where unknown, giving the column ``labels``; these may be floats or booleans.
        count: how many images there are.
        what: how errors name the labels.
        class_names: names of the classes; None names them "0" … "k−1".

    Raises:
        InputError: not integers, a wrong number of them, or values that cannot be classes.
    """
    several = labels.ndim == 2 and labels.shape[1] != 1
    # A loss of several labels takes zeros and ones as floats.
    if labels.dtype.kind not in ("iufb" if several else "iu") or labels.ndim not in (1, 2):
        raise InputError(
            f"{what} must be integers of shape (n,), (n, 1) or, for several labels per image, 0/1 of shape (n, k); "
            f"got {labels.dtype} {labels.shape}"
        )
    if len(labels) != count:
        raise InputError(f"{what}: {len(labels)} labels for {count} images")
    if several:
        return _multilabel(labels, what, class_names)
    flat = labels.reshape(-1).astype(object if labels.dtype == np.uint64 else np.int64)
    low, high = (int(flat.min()), int(flat.max())) if count else (0, -1)
    if low < -1:
        raise InputError(f"{what}: {low} is no class; classes are numbered from 0, −1 means unknown")
    known = len(class_names) if class_names is not None else checked_class_count(high + 1, what)
    if high >= known:
        raise InputError(f"{what}: class {high} is out of range for {known} class names")
    column = pa.array([None if label < 0 else int(label) for label in flat.tolist()], COLUMNS["label"])
    return {"label": column}, tuple(class_names) if class_names is not None else numbered_class_names(known)


def checked_class_count(count: int, what: str) -> int:
    """The number of classes, if it is one that classes can have."""
    if count > MAX_CLASSES:
        raise InputError(
            f"{what}: class number {count - 1} implies {count} classes, more than {MAX_CLASSES}; are these identifiers?"
        )
    return count


def _multilabel(
    labels: NDArray[np.generic], what: str, class_names: Sequence[str] | None
) -> tuple[dict[str, pa.Array], tuple[str, ...]]:
    k = checked_class_count(labels.shape[1], what)
    odd = np.argwhere((labels != 0) & (labels != 1) & (labels != -1))
    if not k or len(odd):
        got = f"{labels[tuple(odd[0])]} for image {odd[0][0]}" if len(odd) else "no class at all"
        hint = " (NaN: np.nan_to_num(labels, nan=-1))" if labels.dtype.kind == "f" else ""
        raise InputError(f"{what} of shape (n, k) are 0 or 1 for each class, −1 where unknown{hint}; got {got}")
    if class_names is not None and len(class_names) != k:
        raise InputError(f"{what}: {k} values for each image, but {len(class_names)} class names")
    column = pa.array(labels.astype(np.int8).tolist(), COLUMNS["labels"])
    return {"labels": column}, tuple(class_names) if class_names is not None else numbered_class_names(k)


#: Columns that hold one class for each image: its own, and that of its bag.
_SINGLE = ("label", "bag_label")

_WORDNET_ID = re.compile(r"n\d{8}")


def align_labels(images: ImageSet, class_names: Sequence[str]) -> ImageSet:
    """Re-index labels, of images and of bags, to a classifier's class names.

    Equal lists change nothing, and a set whose classes are only numbered is taken by position if it has as many
    classes as the classifier. Otherwise each class that occurs is matched by the first of these that finds anything:
    the exact name; the name without regard to case, spaces, underscores and hyphens; a name that either side lists
    after a comma ("tabby" is "tabby, tabby cat"); and, for WordNet ids such as ``n02124075``, the names that ImageNet
    gives to the id (needs timm).

    >>> import numpy as np
    >>> from snellen.data.files.arrays import load_arrays
    >>> pixels = np.zeros((2, 4, 4), dtype=np.uint8)
    >>> pets = load_arrays(pixels, [0, 1], class_names=["Egyptian_cat", "tabby"])
    >>> align_labels(pets, ["tabby, tabby cat", "Egyptian cat"]).labels.tolist()
    [1, 0]

    Args:
        images: a set without labels of any sort is returned as it is; a label-free view stays one.
        class_names: of the classifier, in the order of its scores.

    Raises:
        InputError: a class fits none of the classifier's, or more than one; or the set has several labels per image
            and says nothing about some of the classifier's classes.
    """
    target = tuple(class_names)
    own = images.class_names
    if own is None or own == target:
        return images
    if own == numbered_class_names(len(own)):
        if len(own) == len(target):
            return replace(images, class_names=target)
        raise InputError(
            f"{images.name} has {len(own)} numbered classes, the classifier {len(target)}; name the "
            f"classes of the images (for arrays: load_arrays(images, labels, class_names=[...]))"
        )
    if target == numbered_class_names(len(target)):
        raise InputError(
            f"the classifier's classes are only numbered, those of {images.name} are named "
            f"({listed_names([*map(repr, own)])}); give the classifier its class names with --classes FILE (one name a "
            f"line, in the order of its scores) or class_names=[...]"
        )
    mapping = _match([own[position] for position in _occurring(images, len(own))], target, images.name)
    table = images.table
    for column in _SINGLE:
        if column in table.column_names:
            moved = [None if v is None or v < 0 else mapping[own[v]] for v in table[column].to_pylist()]
            table = _with_column(table, column, moved)
    if "labels" in table.column_names:
        table = _with_column(table, "labels", _moved_multilabel(images, own, mapping, target))
    return replace(images, table=table, class_names=target)


def _occurring(images: ImageSet, count: int) -> list[int]:
    """Classes that at least one image has. Others need no counterpart: nothing will be compared with them."""
    seen: set[int] = set()
    for column in _SINGLE:
        if column in images.table.column_names:
            seen |= {value for value in images.table[column].unique().to_pylist() if value is not None and value >= 0}
    if "labels" in images.table.column_names:
        rows = [row for row in images.table["labels"].to_pylist() if row is not None]
        seen |= {position for row in rows for position, value in enumerate(row[:count]) if value == 1}
    return sorted(seen)


def _moved_multilabel(
    images: ImageSet, own: Sequence[str], mapping: Mapping[str, int], target: Sequence[str]
) -> list[list[int] | None]:
    names = _Names(target)
    places = [mapping[name] if name in mapping else next(iter(names.find(name)), None) for name in own]
    unsaid = [name for position, name in enumerate(target) if position not in set(places)]
    if unsaid:
        raise InputError(
            f"{images.name} does not say whether its images show {listed_names([*map(repr, unsaid)])}, which the "
            f"classifier predicts; 0 would claim that they do not"
        )
    moved: list[list[int] | None] = []
    for row in images.table["labels"].to_pylist():
        new = [0] * len(target)
        for position, value in enumerate(row or []):
            place = places[position]
            if value and place is not None and new[place] != 1:
                new[place] = value
        moved.append(None if row is None else new)
    return moved


def _match(names: Sequence[str], target: Sequence[str], what: str) -> dict[str, int]:
    known = _Names(target)
    mapping, unmatched, ambiguous = dict[str, int](), list[str](), list[str]()
    for name in names:
        found = known.find(name)
        if len(found) == 1:
            mapping[name] = next(iter(found))
        else:
            (ambiguous if found else unmatched).append(name)
    if ambiguous:
        name = ambiguous[0]
        fitting = ", ".join(f"{position} ({target[position]!r})" for position in sorted(known.find(name))[:5])
        raise InputError(
            f"class {name!r} of {what} fits more than one class of the classifier: {fitting}; rename it so that it "
            f"fits one, or number the labels by the classifier's classes"
        )
    if unmatched:
        near = [f"{name!r} ({known.nearest(name)})" for name in unmatched[:_NEAR]]
        near_names = listed_names([*near, *unmatched[_NEAR:]], _NEAR, joined="; ")
        raise InputError(
            f"{len(unmatched)} of {len(names)} classes of {what} are none of the classifier's {len(target)} classes: "
            f"{near_names}{known.hint(unmatched)}; rename them, or give the classifier these names with "
            f"--classes FILE "
            f"or class_names=[...]"
        )
    return mapping


@dataclass
class _Names:
    """The classifier's class names, by exact, normalised and listed spelling."""

    target: Sequence[str]
    exact: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    normal: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    listed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        for position, name in enumerate(self.target):
            self.exact[name].add(position)
            self.normal[_normal(name)].add(position)
            for synonym in _synonyms(name):
                self.listed[synonym].add(position)

    def find(self, name: str) -> set[int]:
        """Classes that fit a name; by WordNet id if it is one."""
        found = self._spelled(name)
        if found or not _WORDNET_ID.fullmatch(name):
            return found
        imagenet = _imagenet()
        if imagenet is None or name not in imagenet.described:
            return set()
        if self._in_imagenet_order and name in imagenet.positions:
            return {imagenet.positions[name]}
        return self._spelled(imagenet.described[name])

    def _spelled(self, name: str) -> set[int]:
        by_synonym = set[int]().union(*(self.listed.get(synonym, set()) for synonym in _synonyms(name)))
        return self.exact.get(name) or self.normal.get(_normal(name)) or by_synonym

    @cached_property
    def _in_imagenet_order(self) -> bool:
        """Whether these are the thousand classes of ImageNet: then places distinguish its two cranes, names cannot.

        One name in ten may be spelled in some other way.
        """
        imagenet = _imagenet()
        if imagenet is None or len(self.target) != len(imagenet.positions):
            return False
        alike = (
            bool(_synonyms(self.target[position]) & _synonyms(imagenet.described[key]))
            for key, position in imagenet.positions.items()
        )
        return sum(alike) >= 0.9 * len(self.target)

    def nearest(self, name: str) -> str:
        """The nearest of the classifier's names, in words."""
        near = difflib.get_close_matches(_normal(name), list(self.listed) + list(self.normal), n=1, cutoff=0.4)
        if not near:
            return "nothing is near"
        position = min(self.normal.get(near[0]) or self.listed[near[0]])
        return f"nearest: {self.target[position]!r}"

    def hint(self, names: Sequence[str]) -> str:
        """What to do about names that list several labels, and what to install where WordNet ids are not resolved."""
        if any("|" in name and self.find(name.split("|")[0]) for name in names):
            return "; several labels an image are read with --column labels=COLUMN and --task multi_label"
        identified = any(_WORDNET_ID.fullmatch(name) for name in names) and _imagenet() is None
        return "; matching WordNet ids needs timm: pip install 'snellen[models]'" if identified else ""


@dataclass(frozen=True)
class _ImageNet:
    positions: Mapping[str, int]
    described: Mapping[str, str]


@cache
def _imagenet() -> _ImageNet | None:
    """Names of WordNet ids, and places in ImageNet-1k, from timm; None without timm."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that timm imports
            module = import_extra("timm.data.imagenet_info", "models", "matching WordNet ids")
    except MissingExtraError:
        return None
    info = module.ImageNetInfo("imagenet-22k")
    thousand = module.ImageNetInfo("imagenet-1k").label_names()
    described = info.label_descriptions(as_dict=True)
    described |= {key: info.label_name_to_description(key) for key in thousand}
    return _ImageNet({key: position for position, key in enumerate(thousand)}, described)


def _normal(name: str) -> str:
    r"""A name without case, and with one space for what separates words; so do characters that no folder may hold.

    >>> _normal("T-shirt/top") == _normal("t_shirt-Top")
    True
    """
    return re.sub(r"[\s_/\\:*?\"<>|-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def _synonyms(name: str) -> set[str]:
    return {normal for part in name.split(",") if (normal := _normal(part))}


def _with_column(table: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    position = table.column_names.index(name)
    return table.set_column(position, name, pa.array(values, COLUMNS[name]))
