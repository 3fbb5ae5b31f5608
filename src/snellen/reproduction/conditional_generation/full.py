"""System 6 at full scale: ImageNet-100, Stable Diffusion 1.5 and its finetuned form, on a GPU.

Three settings of 1,300 images for each of 100 classes are 390,000 images of 25 steps, and 5,000 to test with: about 25
hours of an H100 at 16-bit precision and 25 GiB of its memory, once for all seeds. A seed trains 9 students and 8
standard models (ResNet-18 with blurred strides, 160 pixels, 56 epochs of SGD) for about 2 hours each, 4 where there are
twice the updates. Images are read from their files: a set above 2 GiB is never held in memory, so 16 GiB of main memory
and 150 GB of disk suffice. These figures are estimates: nobody has run it.
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
from snellen.methods.synthesis.templates import template_sets
from snellen.reproduction.conditional_generation.materials import Material, Size, material_of
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION
from snellen.systems.conditional_generation.study import PUBLISHED

#: Folder of manifests, and the diffusers folders of Stable Diffusion 1.5 and of the finetuned one.
DATA, GENERATOR, TUNED = "SNELLEN_IMAGENET_100", "SNELLEN_STABLE_DIFFUSION", "SNELLEN_STABLE_DIFFUSION_FINETUNED"

#: Manifests of training images, of the validation set, and of the shifted sets, which may have a part of the classes.
TRAIN, VALIDATION = "train.csv", "val.csv"
SHIFTED = ("sketch", "renditions", "v2", "objectnet")


def full_size() -> Size:
    """How much of everything; the generator is the folder that the environment names.

    Raises:
        InputError: it names none.
    """
    absent = [name for name in (DATA, GENERATOR, TUNED) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {' and '.join(absent)}: {DATA} is a folder with {TRAIN}, {VALIDATION} and "
            f"{', '.join(f'{name}.csv' for name in SHIFTED)} (columns path, label), whose labels are words; "
            f"{GENERATOR} and {TUNED} are the folders of Stable Diffusion 1.5 and of its form that was finetuned on "
            f"ImageNet, in the format of diffusers. For your own data, snellen synthesize robustness does the same on "
            f"a smaller scale"
        )
    return Size(
        real=1300,
        test=50,
        students=PUBLISHED,
        steps=25,
        narrow=None,
        generator=f"diffusers:{os.environ[GENERATOR]}",
        diverse=template_sets()["clip"],
        single=("a photo of a {}",),
        batch=64,
    )


def full_material(size: Size, progress: Progress) -> Material:
    """Real images by their manifests, and what the generators make of the names of their classes.

    Raises:
        InputError: a manifest is not there, or a shifted set has a class that the real images do not have.
    """
    folder = Path(os.environ[DATA])
    real = first_of_each(load_images(folder / TRAIN), size.real, allow_fewer=True)
    tests: dict[str, ImageSet] = {IN_DISTRIBUTION: load_images(folder / VALIDATION)}
    tests |= {name: load_images(folder / f"{name}.csv") for name in SHIFTED}
    few = {name: first_of_each(images, size.test, allow_fewer=True) for name, images in tests.items()}
    device, dtype = ("cuda", "float16") if torch.cuda.is_available() else ("cpu", "float32")
    with generating_on(device, dtype):
        return material_of(
            real, few, size, f"diffusers:{os.environ[TUNED]}", writable_cache("conditional-generation"), progress
        )
