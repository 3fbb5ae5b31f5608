"""System 14 at full scale: ImageNet-100 and Stable Diffusion 1.5, on a GPU.

Five settings of 640 images for each of 100 classes are 320,000 images of 25 steps: about 20 hours of an H100 at 16-bit
precision and 25 GiB of its memory, once for all seeds. A seed trains 28 networks (ViT-S, 224 pixels, 20,000 updates of
256) for about 1.5 hours each. Images are read from their files: a set above 2 GiB is never held in memory, so 16 GiB of
memory and 150 GB of disk suffice. These figures are estimates: nobody has run it.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from snellen.core.cache_folder import writable_cache
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.class_balance import first_of_each
from snellen.data.references import load_images
from snellen.methods.generation.made_images import generating_on
from snellen.reproduction.scaling_laws.materials import Material, Size, generated
from snellen.training.students import StudentPlan

#: Folder of manifests, and the diffusers folder of Stable Diffusion 1.5.
DATA, GENERATOR = "SNELLEN_IMAGENET_100", "SNELLEN_STABLE_DIFFUSION"

#: Manifests of images to train on, of the validation set, and of a shifted one such as ImageNet-Sketch.
TRAIN, VALIDATION, SHIFTED = "train.csv", "val.csv", "shifted.csv"


def full_size() -> Size:
    """How much of everything; the generator is the folder that the environment names.

    Raises:
        InputError: it names none.
    """
    absent = [name for name in (DATA, GENERATOR) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {' and '.join(absent)}: {DATA} is a folder with {TRAIN} (columns path, label, "
            f"caption), {VALIDATION} and {SHIFTED} of the same classes, whose names are words; {GENERATOR} is the "
            f"folder of Stable Diffusion 1.5 in the format of diffusers. For your own data, snellen synthesize plan "
            f"--generator diffusers:FOLDER does the same on a smaller scale"
        )
    students = StudentPlan(
        architecture="timm:vit_small_patch16_224", side=224, amount=20_000, batch_size=256, learning_rate=1e-3
    )
    return Size(
        made=640,
        real=640,
        few=80,
        test=50,
        scored=640,
        scorer_amount=40_000,
        steps=25,
        students=students,
        generator=f"diffusers:{os.environ[GENERATOR]}",
        templates=("a photo of a {}",),
        batch=64,
    )


def full_material(size: Size, progress: Progress) -> Material:
    """Real images by their manifests, and what the generator makes of their classes and captions.

    Students train on the first images of each class, and the scorer on the others. The oracle of classes that the
    generator cannot draw are the real images that students of real images train on.

    Raises:
        InputError: a manifest is not there, other classes, or too few images of a class.
    """
    folder = Path(os.environ[DATA])
    train, validation, shifted = (load_images(folder / name) for name in (TRAIN, VALIDATION, SHIFTED))
    for one in (validation, shifted):
        if one.class_names != train.class_names:
            raise InputError(f"{one.name} has other classes than {train.name}; all need the same, in one order")
    real = first_of_each(train, size.real)
    device, dtype = ("cuda", "float16") if torch.cuda.is_available() else ("cpu", "float32")
    with generating_on(device, dtype):
        made = generated(real, size, writable_cache("scaling-laws"), progress)
    tests = {"in_distribution": _at_most(validation, size.test), "shifted": _at_most(shifted, size.test)}
    return Material(real, made, tests, _without(train, real), real)


def _at_most(images: ImageSet, count: int) -> ImageSet:
    """The first images of each class; all of a class that has fewer."""
    return first_of_each(images, count, allow_fewer=True)


def _without(images: ImageSet, taken: ImageSet) -> ImageSet:
    """The images that students do not see.

    Raises:
        InputError: none is left.
    """
    ids = set(taken.ids)
    left = [row for row, key in enumerate(images.ids) if key not in ids]
    if not left:
        raise InputError(f"{images.name} has no images left for the scorer: it needs more than students train on")
    return images.select(left)
