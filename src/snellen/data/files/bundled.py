"""Images that come with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from snellen.core.errors import unknown_name
from snellen.core.images import ImageSet
from snellen.core.package import asset
from snellen.data.files.medmnist import load_npz

#: Classes of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, table 2), in the order of its labels.
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


#: Name of the bundled images in reports.
_TITLE = "fashion-mnist (2,000 test images, 28-pixel product thumbnails)"


def training_images_of(reference: str) -> str | None:
    """A reference of training images from the source of a bundled set; None: it is another set.

    >>> training_images_of("bundled:fashion-mnist")
    'known:fashion-mnist#train'
    """
    return "known:fashion-mnist#train" if reference.partition("#")[0] == "bundled:fashion-mnist" else None


def load_bundled(which: str, *, name: str | None = None) -> ImageSet:
    """Load images of the package by name; the only ones are ``fashion-mnist``.

    Raises:
        UnknownNameError: no such name.
        InputError: the file is missing from this installation.
    """
    if which != "fashion-mnist":
        raise unknown_name("bundled image set", which, ["fashion-mnist"])
    path = asset("fashion-mnist-2000.npz")
    title = name or _TITLE
    return _loaded(path, title)


@cache
def _loaded(path: Path, name: str) -> ImageSet:
    """Read once in a process: nothing of a set can change, and reading it takes 11 ms in every call."""
    return load_npz(path, split="test", class_names=FASHION_CLASSES, name=name)
