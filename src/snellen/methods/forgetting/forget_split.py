"""Which training images are to be forgotten, and which remain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.training.parts import Chosen, Labelled


@dataclass(frozen=True, eq=False)
class ForgetSplit:
    """The training images of a classifier, divided.

    >>> from snellen.training.batches import ImageStore
    >>> store = ImageStore.of_tensors(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1, 0]))
    >>> split = ForgetSplit(store, torch.tensor([2]))
    >>> split.remaining.ids, split.forgotten.ids
    (('0', '1', '3'), ('2',))

    Args:
        images: all training images, prepared as the classifier takes them, with class numbers as targets.
        rows: of the images to forget, int64 (m,), 0 < m < n, each once.

    Raises:
        InputError: no image, every image, an image twice, or a row that is not there.
    """

    images: Labelled
    rows: Tensor

    def __post_init__(self) -> None:
        count, total = len(self.rows), len(self.images)
        if not count:
            raise InputError("the forget set is empty; name at least one image or class to forget")
        if len(set(self.rows.tolist())) < count:
            raise InputError("an image stands twice in the forget set; name each image once")
        if count >= total:
            raise InputError(
                f"the forget set holds {count} of {total} training images, and nothing would remain to learn from; "
                f"forget fewer images"
            )
        if int(self.rows.min()) < 0 or int(self.rows.max()) >= total:
            raise InputError(f"rows of a forget set lie in 0 … {total - 1}; got {self.rows.min()} … {self.rows.max()}")

    @cached_property
    def is_forgotten(self) -> Tensor:
        """Whether each training image is to be forgotten, bool (n,)."""
        found = torch.zeros(len(self.images), dtype=torch.bool)
        found[self.rows] = True
        return found

    @cached_property
    def forgotten(self) -> Chosen:
        """The images to forget."""
        return Chosen(self.images, self.is_forgotten.nonzero().flatten())

    @cached_property
    def remaining(self) -> Chosen:
        """All others."""
        return Chosen(self.images, (~self.is_forgotten).nonzero().flatten())

    def lost_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Classes without a remaining image."""
        lost = set(self.forgotten.targets.tolist()) - set(self.remaining.targets.tolist())
        return tuple(names[label] for label in sorted(lost))


def rows_of_ids(images: Labelled, ids: Sequence[str]) -> Tensor:
    """Rows of images by their ids, int64 (m,), ascending.

    Raises:
        InputError: no id, an id twice, or an id that no image has.
    """
    if not ids:
        raise InputError("no image is named; give the ids of the images to forget")
    twice = sorted(one for one, count in Counter(ids).items() if count > 1)
    if twice:
        raise InputError(f"{len(twice)} ids stand twice in the forget set, the first is {twice[0]!r}; name each once")
    places = {one: row for row, one in enumerate(images.ids)}
    unknown = [one for one in ids if one not in places]
    if unknown:
        near = images.ids[0]
        raise InputError(
            f"{len(unknown)} of {len(ids)} ids are of no training image, the first is {unknown[0]!r}; ids look like "
            f"{near!r}"
        )
    return torch.tensor(sorted(places[one] for one in ids), dtype=torch.int64)


def rows_of_classes(images: Labelled, names: Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Rows of all images of some classes, int64 (m,), ascending.

    Raises:
        InputError: a class that the classifier does not have, or that has no image.
    """
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise InputError(f"the classifier has no class {unknown[0]!r}; its classes are {', '.join(class_names)}")
    wanted = torch.tensor(sorted({list(class_names).index(name) for name in names}), dtype=torch.int64)
    rows = torch.isin(images.targets, wanted).nonzero().flatten()
    if not len(rows):
        raise InputError(f"no training image is of the class {', '.join(names)}")
    return rows
