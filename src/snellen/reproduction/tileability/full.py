"""The paper's experiment on a GPU: ConvNeXt-Base from ImageNet on libraries of textures by path.

A data set with the classes ``tileable`` and ``not tileable`` and the splits ``train`` and ``test``, divided by texture:
CC0 libraries such as ambientCG and Poly Haven for the first class, photographs of materials for the second. Half of the
tileable ones are broken anew in each pass, so that content cannot give the answer away. At 512 pixels a training of 20
passes over 10,000 textures takes about 12 hours of an H100 and 40 GiB of its memory; a seed has four. These are
estimates: nobody has run it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.references import load_images
from snellen.models.weights.checkpoint_file import read_checkpoint

#: The data set by reference; the weights of torchvision's ``convnext_base`` of ImageNet, a file.
TEXTURES, CONVNEXT = "SNELLEN_TEXTURES", "SNELLEN_CONVNEXT_BASE"

#: Names of the classes.
CLASSES = {"tileable", "not tileable"}


def full_material() -> tuple[ImageSet, ImageSet, Mapping[str, Tensor]]:
    """Training and test textures, and initial weights.

    Raises:
        InputError: a variable is not set, other classes, or a split is missing.
    """
    absent = [name for name in (TEXTURES, CONVNEXT) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {' and '.join(absent)}: {TEXTURES} is a data set of textures with the classes "
            f"'tileable' and 'not tileable' and the splits train and test, {CONVNEXT} the file of torchvision's weights"
        )
    images = load_images(os.environ[TEXTURES])
    names = images.class_names or ()
    if set(names) != CLASSES:
        raise InputError(f"{TEXTURES}: expected the classes {sorted(CLASSES)}, got {sorted(names)}")
    splits = images.column("split")
    parts = []
    for split in ("train", "test"):
        rows = [row for row, one in enumerate(splits) if one == split]
        if not rows:
            raise InputError(f"{TEXTURES} has no images of the split {split}")
        parts.append(images.select(rows))
    return parts[0], parts[1], read_checkpoint(Path(os.environ[CONVNEXT]))[0]
