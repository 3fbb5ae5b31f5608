"""The paper's experiment on a GPU: photographs of ImageNet-S with masks, guided diffusion of 256 pixels, classifiers.

Everything comes by reference, from environment variables, and nothing is downloaded. All eleven settings are made of
the same images, batch by batch: an image that one of them cannot be made of counts in none. Estimated from numbers of
passes and not measured, for 4,352 images: 25 steps of eleven settings, three of them with gradients through the
network, take two days and 16 GB of a GPU. No image is held longer than its batch; twelve numbers of each stay for each
classifier.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.outcomes import Edited
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.edits.masked_object import RING, Fill, lenders, removed
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.attribute_editing.edited_batch import same_sources
from snellen.systems.attribute_editing.editing import MOST, Edit
from snellen.systems.attribute_editing.editor import BackgroundEditor
from snellen.systems.attribute_editing.published import SETTINGS

IMAGES, GENERATOR, CLASSIFIERS = (f"SNELLEN_EDITS_{name}" for name in ("IMAGES", "GENERATOR", "CLASSIFIERS"))

#: Optional: where it runs.
DEVICE = "SNELLEN_EDITS_DEVICE"


def full(
    seed: int, progress: Progress, *, steps: int = 100, made: int = 25, together: int = 16, fill: Fill = "telea"
) -> Mapping[str, Figure]:
    """What each setting costs each classifier, a value for each image.

    Args:
        seed: of places, turns, lent backgrounds and noise.
        progress: callback that receives progress updates.
        steps: of the schedule.
        made: of them, that are made.
        together: images of a batch.
        fill: how objects are taken out.

    Returns:
        ``imagenet.main.original`` and ``imagenet.main.KIND`` of the first classifier, whose drops the paper prints for
        a ResNet-50 and which the adversarial background misleads; ``imagenet.models.KIND``, means over all;
        ``imagenet.main.mean`` and ``imagenet.models.mean`` of the ten edits; ``imagenet.models.background`` of the
        backgrounds that mislead none; ``imagenet.kept``, the share of the images that every setting could be made of.

    Raises:
        InputError: a variable is not set, images without masks, or classes that are not those of the classifiers.
    """
    absent = [name for name in (IMAGES, GENERATOR, CLASSIFIERS) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {IMAGES} names labelled images of ImageNet's classes with "
            f"masks of their objects, such as a manifest of ImageNet-S. {GENERATOR} names an unconditional "
            f"generator of 256 "
            f"pixels (diffusers:FOLDER). {CLASSIFIERS} names one or more classifiers, parted by spaces, a "
            f"ResNet-50 first"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    images = load_images(os.environ[IMAGES])
    classifiers = [load_classifier(name, device=device) for name in os.environ[CLASSIFIERS].split()]
    generator = load_generator(os.environ[GENERATOR], device=device)
    for one in classifiers:
        if one.class_names != images.class_names:
            raise InputError(
                f"{one.name} has {len(one.class_names)} classes and {images.name} {len(images.class_names or ())}, or "
                f"others; give the images the classes of the classifiers, in their order"
            )
    editor = BackgroundEditor(generator, steps, made, batch_size=together)
    return _figures(*_counted(images, classifiers, generator, editor, seed, together, fill, progress), len(images))


def _counted(
    images: ImageSet,
    classifiers: Sequence[Classifier],
    generator: Generator,
    editor: BackgroundEditor,
    seed: int,
    together: int,
    fill: Fill,
    progress: Progress,
) -> tuple[list[list[bool]], dict[str, list[list[bool]]]]:
    """Which unedited images each classifier decides right, and which under each setting, of images kept by all."""
    preparation = _square(generator.image_size)
    objects = ObjectMasks(images, preparation)
    rng = Randomness(seed).child("edits").for_examples(images.ids)
    lent = [row or 0 for row in lenders(images.labels.tolist(), rng)]
    before: list[list[bool]] = [[] for _ in classifiers]
    after: dict[str, list[list[bool]]] = {kind: [[] for _ in classifiers] for kind in SETTINGS}
    progress.begin("edited images", len(images))
    for start in range(0, len(images), together):
        readable = [
            (row, *found)
            for row in range(start, min(start + together, len(images)))
            if (found := objects.read(images.ids[row])) is not None
        ]
        progress.advance("edited images", min(together, len(images) - start))
        if not readable:
            continue
        rows = [row for row, _, _ in readable]
        pixels = torch.stack([pixels for _, pixels, _ in readable])
        masks = torch.stack([mask for _, _, mask in readable])
        behind = _behind(objects, images, [lent[row] for row in rows], pixels, fill)
        labels = torch.from_numpy(images.labels[rows])
        edited: dict[str, Edited] = {}
        for kind, setting in SETTINGS.items():
            edit = Edit(setting, editor, classifiers[0], fill=fill)
            given = behind if setting.borrows else None
            edited[kind] = edit.edit(pixels, masks, MOST, rng=rng[rows], backgrounds=given, labels=labels)
        ids = [images.ids[row] for row in rows]
        kept = same_sources(ids, {kind: one.status for kind, one in edited.items()}).kept
        chosen = [ids.index(key) for key in kept]
        if not chosen:
            continue
        for place, classifier in enumerate(classifiers):
            before[place] += _right(classifier, pixels[chosen], labels[chosen])
            for kind, one in edited.items():
                after[kind][place] += _right(classifier, one.images[chosen], labels[chosen])
    progress.finish("edited images")
    if not before[0]:
        raise InputError(f"none of the {len(images)} images of {images.name} has a mask and can be edited in every way")
    return before, after


def _square(size: tuple[int, int]) -> Preprocessing:
    """Photographs at the generator's size: the shorter side scaled, the middle cut out."""
    return Preprocessing(size=size, resize="shorter", resize_to=size)


def _behind(objects: ObjectMasks, images: ImageSet, rows: Sequence[int], own: Tensor, fill: Fill) -> Tensor:
    """Backgrounds that are lent, their objects taken out; an image whose lender has no mask keeps its own pixels."""
    found = own.clone()
    for place, row in enumerate(rows):
        lender = objects.read(images.ids[row])
        if lender is not None and not bool(lender[1].all()):
            found[place] = removed(lender[0][None], lender[1][None], fill, ring=RING)[0]
    return found


@torch.no_grad()
def _right(classifier: Classifier, images: Tensor, labels: Tensor) -> list[bool]:
    """Whether each image is decided right, prepared as a photograph is."""
    pictures = [Image.fromarray((one * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()) for one in images]
    scores = classifier(torch.stack([classifier.prepare(one) for one in pictures]).to(classifier.device))
    found: list[bool] = (scores.argmax(1).cpu() == labels).tolist()
    return found


def _figures(before: list[list[bool]], after: dict[str, list[list[bool]]], count: int) -> dict[str, Figure]:
    """Figures of the values of all batches."""
    right = np.array(before, dtype=np.float64)
    lost = {kind: right - np.array(rows, dtype=np.float64) for kind, rows in after.items()}
    edits = [kind for kind, row in SETTINGS.items() if row.in_mean]
    grounds = [kind for kind, row in SETTINGS.items() if row.attribute == "background" and not row.adversarial]
    lost["mean"] = np.mean([lost[kind] for kind in edits], axis=0)
    lost["background"] = np.mean([lost[kind] for kind in grounds], axis=0)
    figures: dict[str, Figure] = {
        "main.original": Sample.of(right[0]),
        "models.original": Sample.of(right.mean(0)),
        "kept": right.shape[1] / count,
    }
    for kind, values in lost.items():
        figures |= {f"main.{kind}": Sample.of(values[0]), f"models.{kind}": Sample.of(values.mean(0))}
    return {f"imagenet.{name}": figure for name, figure in figures.items()}
