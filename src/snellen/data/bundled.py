"""Images that come with the package."""

from __future__ import annotations

from pathlib import Path

from snellen.data.medmnist import load_npz
from snellen.errors import InputError, unknown_name
from snellen.images import ImageSet

ASSETS = Path(__file__).parents[1] / "assets"

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


def load_bundled(which: str, *, name: str | None = None) -> ImageSet:
    """Load images of the package by name; the only ones are ``fashion-mnist``.

    Raises:
        UnknownNameError: no such name.
        InputError: the file is missing from this installation.
    """
    if which != "fashion-mnist":
        raise unknown_name("bundled image set", which, ["fashion-mnist"])
    path = ASSETS / "fashion-mnist-2000.npz"
    if not path.is_file():
        raise InputError(f"{path} is missing from this installation of snellen; install it again")
    told = name or "fashion-mnist (2,000 test images, 28-pixel product thumbnails)"
    return load_npz(path, split="test", class_names=FASHION_CLASSES, name=told)
