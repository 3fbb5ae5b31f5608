"""Fashion-MNIST as it is installed here: what experiments train on that need more than the bundled images."""

from __future__ import annotations

import os
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.data.files.idx import load_idx

#: Where Debian's package puts it, and the variable that names another folder.
FASHION_MNIST, FASHION_MNIST_VARIABLE = "/usr/share/datasets/fashion-mnist", "SNELLEN_FASHION_MNIST"


def fashion_mnist(split: Split) -> ImageSet:
    """The images of one split, "train" or "test".

    Raises:
        InputError: Fashion-MNIST is not installed.
    """
    folder = Path(os.environ.get(FASHION_MNIST_VARIABLE, FASHION_MNIST))
    if not folder.is_dir():
        raise InputError(
            f"the small experiment reads Fashion-MNIST from {folder}, which is not there; on Debian and Ubuntu: "
            f"apt install dataset-fashion-mnist. Elsewhere set {FASHION_MNIST_VARIABLE} to the folder of its files"
        )
    return load_idx(folder, split=split, class_names=FASHION_CLASSES)
