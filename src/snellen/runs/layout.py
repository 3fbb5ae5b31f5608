"""Where each image of a set lies in the written folder, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.core.images import ImageSet
from snellen.runs.safe_names import UNLABELLED, file_names, folder_names
from snellen.runs.settings import severity_name


class Layout:
    """Paths of images: ``SETTING/SEVERITY/CLASS/NAME.png``, without the class where the set has one label for none.

    Args:
        images: the set; ids and class names may be anything.
    """

    def __init__(self, images: ImageSet) -> None:
        self.classes = classes_of(images)
        known = [name for name in self.classes if name is not None]
        self._folders = folder_names([*(images.class_names or ()), *known])
        self._labelled = bool(known)
        self._names = file_names(images.ids, ".png")

    def path(self, setting: str, severity: float, index: int) -> str:
        """Path of one image, relative to the folder, with forward slashes."""
        return f"{setting}/{severity_name(severity)}/{self.place(index)}"

    def place(self, index: int) -> str:
        """The end of its path, which is the same in every setting: ``CLASS/NAME.png``."""
        name = self.classes[index]
        middle = [self._folders[name] if name is not None else UNLABELLED] if self._labelled else []
        return "/".join([*middle, self._names[index]])


def classes_of(images: ImageSet) -> Sequence[str | None]:
    """Name of the class of each image; None where it is unknown or may not be read."""
    if images.hidden:
        return [None] * len(images)
    names = images.class_names
    labels = images.labels.tolist()
    return [None if label < 0 else names[label] if names else str(label) for label in labels]
