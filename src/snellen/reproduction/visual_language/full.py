"""The paper's experiment on a GPU: photographs with boxes, DenseNet-121, SAM ViT-H and LLaVA-1.5-7B; and sonar images.

Everything comes by reference, from environment variables, and nothing is downloaded. Images are read and explained a
few at a time, and one number of each is kept. Estimated from numbers of calls and not measured, for 200 photographs:
420,000 evaluations of the classifier on images that are filled in by one core (2 hours), and 1,000 answers (20 minutes
of an H100); 35 GB of its memory, since LLaVA and two copies of SAM are held in single precision.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.metrics.caption_measures import bleu
from snellen.models.classifiers.references import load_classifier
from snellen.models.references import load_question_answerer
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.visual_language.photographs import FullSize, Photographs, explain, note

MODEL, DATA, SEGMENTER, ANSWERER, SONAR_MODEL, SONAR_DATA = (
    f"SNELLEN_VALE_{name}" for name in ("MODEL", "DATA", "SEGMENTER", "ANSWERER", "SONAR_MODEL", "SONAR_DATA")
)

PUBLISHED_SIZE = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = PUBLISHED_SIZE) -> Mapping[str, Figure]:
    """The pointing game by budget, regions against boxes, what they are worth, and what answers say.

    Args:
        seed: of the images, of noise, and of the wrong classes.
        progress: callback that receives progress updates.
        size: how much.

    Returns:
        ``right`` of all drawn images; of those that are right ``hit.B`` and ``hit_near.B`` for each budget B, of
        ``centre`` and ``gradient``; ``iou.region``, ``iou.box`` (its bounding box), ``iou.pointed`` (of the region at
        the middle of the object) and ``iou.centre`` (at the middle of the image); ``drop`` and ``kept`` of ``region``
        and ``moved``; ``named.generic``, ``named.labelled`` and ``named.misled``, whether the answer names the class
        when the question holds no class, the class, or a wrong one; ``misled.generic`` and ``misled.labelled``, whether
        it names that wrong class; each with a value for each image. ``bleu.generic`` and ``bleu.labelled`` against
        captions of the images, None without; ``sonar.right``, ``sonar.drop.region`` and ``sonar.drop.moved``, None
        without sonar images.

    Raises:
        InputError: a variable is not set, no image has a mask, or none is right.
    """
    absent = [name for name in (MODEL, DATA, SEGMENTER, ANSWERER) if not os.environ.get(name)]
    if absent or bool(os.environ.get(SONAR_MODEL)) != bool(os.environ.get(SONAR_DATA)):
        raise InputError(
            f"the full experiment needs {', '.join(absent) or f'both {SONAR_MODEL} and {SONAR_DATA}, or none'}. "
            f"{MODEL} is a classifier of photographs (DenseNet-121). {DATA} holds labelled images of its classes, with "
            f"masks of the labelled object (the inside of its boxes). Their captions, if any, are references. "
            f"{SEGMENTER} is hf:FOLDER of SAM ViT-H, {ANSWERER} hf:FOLDER of LLaVA-1.5-7B. Optional are {SONAR_MODEL} "
            f"and {SONAR_DATA}, a classifier of sonar images and labelled images"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = load_classifier(os.environ[MODEL], device=device)
    images = align_labels(load_images(os.environ[DATA]), classifier.class_names).limit(size.images, seed)
    answerer = load_question_answerer(os.environ[ANSWERER], device=device)
    photographs = Photographs(classifier, os.environ[SEGMENTER], answerer, size, seed)
    progress.begin("photographs", len(images))
    for rows, pixels, masks in _with_masks(images, classifier, size.batch):
        photographs.add(images, rows, pixels, masks)
        progress.advance("photographs", len(rows))
    progress.finish("photographs")
    if not photographs.values["hit.centre"]:
        raise InputError(
            f"{len(photographs.values['right'])} of {len(images)} images of {os.environ[DATA]} have a mask that can be "
            f"read, and {os.environ[MODEL]} is right about none; check masks and class names"
        )
    figures: dict[str, Figure] = {name: Sample.of(found) for name, found in photographs.values.items() if found}
    for prompt in ("generic", "labelled"):
        pairs = photographs.spoken[prompt]
        figures[f"bleu.{prompt}"] = bleu([one for one, _ in pairs], [[one] for _, one in pairs]) if pairs else None
    for name in ("drop.region", "drop.moved", "kept.region", "kept.moved"):
        figures.setdefault(name, None)
    return figures | _sonar(size, seed, device, progress)


def _with_masks(images: ImageSet, classifier: Classifier, batch: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Positions, prepared images (n, 3, h, w) and masks (n, h, w) of those that have one, a few at a time."""
    objects = ObjectMasks(images, classifier.preparation)
    for first in range(0, len(images), batch):
        read = {row: objects.read(images.ids[row]) for row in range(first, min(first + batch, len(images)))}
        known = {row: pair for row, pair in read.items() if pair is not None and bool(pair[1].any())}
        if known:
            pixels, masks = (torch.stack(part) for part in zip(*known.values(), strict=True))
            yield list(known), pixels.to(classifier.device), masks


def _sonar(size: FullSize, seed: int, device: str, progress: Progress) -> dict[str, Figure]:
    """The same explanation of a classifier of sonar images, where there is one."""
    values: dict[str, list[float]] = defaultdict(list)
    if os.environ.get(SONAR_DATA):
        classifier = load_classifier(os.environ[SONAR_MODEL], device=device)
        images = align_labels(load_images(os.environ[SONAR_DATA]), classifier.class_names).limit(size.images, seed)
        labels = torch.from_numpy(np.asarray(images.labels))
        progress.begin("sonar images", len(images))
        for batch in prepared_batches(images, classifier.preparation, size.batch):
            if not batch.ids:
                continue
            pixels = to_unit(batch.pixels).to(classifier.device)
            with torch.no_grad():
                decided = classifier.predict(classifier(pixels))
            rng = Randomness(seed).for_examples(batch.ids)
            explained = explain(classifier, os.environ[SEGMENTER], pixels, decided, max(size.budgets), rng)
            values["sonar.right"] += (decided.cpu() == labels[batch.indices]).double().tolist()
            note(values, "sonar.", explained)
            progress.advance("sonar images", len(batch.ids))
        progress.finish("sonar images")
    names = ("right", "drop.region", "drop.moved", "kept.region", "kept.moved")
    return {f"sonar.{name}": Sample.of(found) if (found := values[f"sonar.{name}"]) else None for name in names}
