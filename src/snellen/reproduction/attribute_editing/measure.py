"""Stamps of Tux Paint under EfficientNet-Lite0, before and after edits of their objects: docs/measured/real-edits.json.

    python scripts/measure.py attribute_editing --part edits
    python scripts/measure.py attribute_editing --part control --set seed=51

The classifier is ``bundled:efficientnet-lite0`` (extra ``imagenet``). The cut-outs are those of ``known:stamps`` whose
captions name a class of ImageNet (:mod:`snellen.reproduction.attribute_editing.stamp_counterparts`); their longer side
takes 60 % of the frame's edge, in the middle. Three of the grounds behind them are plain. Two are photographs of
``known:photos``: surfaces alone, and scenes with objects in them. Edits are copied and pasted before the exact
background, so that nothing has to be filled; ``filled`` are those before the background that the tool makes itself. The
pictures may not be shown, so none is drawn. Takes about ten minutes on one core. ``control`` is of the drawn scenes,
and says where the control of the record costs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import write_atomically
from snellen.data.files.catalogue.cutout_source import Background, Placement, plain_background
from snellen.data.files.catalogue.known_set import find_set, known_set, stored_sums
from snellen.data.files.catalogue.stamps import load_stamps
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.loading import load_generator
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.reproduction.attribute_editing.experiment import GENERATOR, MISLED, SMALL, WEIGHT
from snellen.reproduction.attribute_editing.materials import drawn_anew, drawn_into, shown
from snellen.reproduction.attribute_editing.networks import trained
from snellen.reproduction.attribute_editing.stamp_counterparts import COUNTERPARTS
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.attribute_editing.attribute_loss import lost_by, paired_drop
from snellen.systems.attribute_editing.editing import MOST, Edit
from snellen.systems.attribute_editing.editor import BackgroundEditor, complexity
from snellen.systems.attribute_editing.method import AttributeEditing
from snellen.systems.attribute_editing.published import ATTRIBUTES, SETTINGS

#: Edge of the frame, which the classifier's preparation cuts to 224, and the object's share of it.
FRAME, SHARE = 256, 0.6

SURFACES = ("scikit-image/brick.png", "scikit-image/grass.png", "scikit-image/gravel.png")
SCENES = ("scikit-learn/china.jpg", "scikit-learn/flower.jpg", "scikit-image/rocket.jpg")

#: Edits that copy and paste can make, the control first.
KINDS = ("inver", "full_size", "size_10", "size_8", "size_5", "random_position", "random_direction")

BATCH = 16

#: Pixels around an object of a scene that count as near it.
AROUND = 3


def measure_edits(root: Path, progress: Progress, *, seed: int = 0, limit: int | None = None) -> None:
    """Measure and write.

    Args:
        root: of the working copy.
        progress: callback that receives progress updates.
        seed: of the edits.
        limit: use the first so many stamps, to try it out; then nothing is written.
    """
    classifier = load_classifier("bundled:efficientnet-lite0")
    behind = grounds(load_images("known:photos"))
    stamps = cut_outs(behind)
    names = [name.partition(",")[0] for name in classifier.class_names]
    chosen = [key for key in stamps.column("unit_id") if key in COUNTERPARTS]
    paths = list(dict.fromkeys(map(str, chosen)))[:limit]
    truth = [[names.index(name) for name in COUNTERPARTS[path]] for path in paths]
    units = np.array([classes[0] for classes in truth])
    of_class = np.unique(units, return_inverse=True)[1].astype(np.int64)
    by_id = {key: row for row, key in enumerate(stamps.ids)}
    numbers = {path: number for number, path in enumerate(dict.fromkeys(map(str, stamps.column("unit_id"))))}
    originals, masks, right = {}, {}, {}
    progress.begin("grounds", len(behind))
    for ground in behind:
        rows = [by_id[f"{path}/{ground}"] for path in paths]
        pixels = torch.stack([classifier.preparation.pixels(stamps.read(row)) for row in rows])
        objects = ObjectMasks(stamps, classifier.preparation)
        masks[ground] = torch.stack([objects.of(row, pixels[at]) for at, row in enumerate(rows)])
        originals[ground] = pixels.float() / 255
        right[ground] = decided_right(classifier, originals[ground], truth)
        progress.advance("grounds", 1, f"{ground}: {right[ground].mean():.1%} correct")
    progress.finish("grounds")
    found: dict[str, Any] = {
        "model": classifier.name,
        "stamps": len(paths),
        "classes": int(of_class.max()) + 1,
        "object_share": round(float(masks["white"].double().mean()), 4),
        "seed": seed,
        "grounds": {ground: figures(right["white"], rows, of_class) for ground, rows in right.items()},
        "edits": {},
    }
    edits = (("white", False), ("surface", False), ("surface", True))
    progress.begin("edits", len(edits))
    for ground, filled in edits:
        exact = None if filled else backgrounds(classifier, behind[ground], [numbers[path] for path in paths])
        edited, left_out = under_edits(
            classifier, originals[ground], masks[ground], exact, truth, paths, Randomness(seed)
        )
        name = f"{ground}, filled" if filled else ground
        found["edits"][name] = summary(right[ground], edited, left_out, of_class)
        progress.advance("edits", 1, name)
    progress.finish("edits")
    if limit is None:
        write_atomically(measured_path(root, "real-edits"), (json.dumps(found, indent=1) + "\n").encode())


def grounds(photos: ImageSet) -> dict[str, Background]:
    """What stands behind the stamps, by name."""

    def one_of(names: tuple[str, ...]) -> Background:
        pictures = [photos.read(photos.ids.index(name)) for name in names]
        return lambda number: pictures[number % len(pictures)]

    return {
        "white": plain_background(),
        "grey": plain_background((128, 128, 128)),
        "black": plain_background((0, 0, 0)),
        "surface": one_of(SURFACES),
        "scene": one_of(SCENES),
    }


def cut_outs(behind: Mapping[str, Background]) -> ImageSet:
    """The stamps that the catalogue lists, on every ground."""
    known = known_set("stamps")
    (folder,) = find_set(known)
    return load_stamps(
        folder,
        files=stored_sums(known.sources[0].sums),
        placement=Placement(size=FRAME, least_share=SHARE, most_share=SHARE),
        backgrounds=behind,
    )


def backgrounds(classifier: Classifier, ground: Background, numbers: list[int]) -> Tensor:
    """Exactly what lies behind the stamps, prepared: float (n, 3, h, w)."""
    frames = [
        ImageOps.fit(ground(number).convert("RGB"), (FRAME, FRAME), Image.Resampling.BICUBIC) for number in numbers
    ]
    return torch.stack([classifier.prepare(frame) for frame in frames])


def decided_right(classifier: Classifier, images: Tensor, truth: list[list[int]]) -> NDArray[np.bool_]:
    """Whether the most likely class is one of the right ones, (n,)."""
    with torch.no_grad():
        best = torch.cat([classifier(images[at : at + BATCH]).argmax(1) for at in range(0, len(images), BATCH)])
    return np.array([one in classes for one, classes in zip(best.tolist(), truth, strict=True)])


def under_edits(
    classifier: Classifier,
    images: Tensor,
    masks: Tensor,
    exact: Tensor | None,
    truth: list[list[int]],
    ids: list[str],
    rng: Randomness,
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """Which images are right under each edit, (n,) by kind; and which could not be edited by one of them."""
    right: dict[str, NDArray[np.bool_]] = {}
    left_out = np.zeros(len(images), dtype=bool)
    for kind in KINDS:
        editing = AttributeEditing(kind=kind)
        parts = []
        for at in range(0, len(images), BATCH):
            rows = slice(at, at + BATCH)
            behind = None if exact is None else exact[rows]
            made = editing.edit(images[rows], masks[rows], 5.0, rng=rng.for_examples(ids[rows]), backgrounds=behind)
            left_out[rows] |= np.array([status != "ok" for status in made.status])
            parts.append(decided_right(classifier, made.images, truth[rows]))
        right[kind] = np.concatenate(parts)
    return right, left_out


def figures(before: NDArray[np.bool_], after: NDArray[np.bool_], units: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy of all, and of those that were right before; the drop of all with its interval over classes."""
    drop = paired_drop(before, after, units)
    return {
        "accuracy": round(drop.edited, 4),
        "of_those_right": round(float(after[before].mean()), 4),
        "drop": round(drop.drop, 4),
        "low": round(drop.low, 4),
        "high": round(drop.high, 4),
        "p_value": drop.p_value,
    }


def summary(
    before: NDArray[np.bool_], edited: Mapping[str, NDArray[np.bool_]], left_out: NDArray[np.bool_], units: NDArray
) -> dict[str, Any]:
    """Figures of the images that every edit could be made of; which attributes cost the images that are right."""
    kept = ~left_out
    right = {kind: rows[kept] for kind, rows in edited.items()}
    by = lost_by({kind: rows for kind, rows in right.items() if SETTINGS[kind].in_mean}, before[kept])
    lost = Counter(attribute for attributes in by for attribute in attributes)
    return {
        "images": int(kept.sum()),
        "left_out": int(left_out.sum()),
        "accuracy": round(float(before[kept].mean()), 4),
        "kinds": {kind: figures(before[kept], rows, units[kept]) for kind, rows in right.items()},
        "lost_by": {attribute: lost[attribute] for attribute in ATTRIBUTES if attribute != "background"},
        "lost_by_any": sum(bool(attributes) for attributes in by),
    }


def measure_control(root: Path, progress: Progress, *, seed: int = 51) -> None:
    """What the control of the scenes costs the plain classifier, and where: docs/measured/edit-control, a file a seed.

    ``near`` is painted within three pixels of the object alone, and ``far`` outside of these alone. ``grain`` draws the
    scene again with another grain. ``complexity`` is that of the background edits by λ, less that of the control, as a
    share of it; ``drawn_into`` is as in the experiment's gate. Seeds below 1000 are not those of the record. Takes four
    minutes of one core.
    """
    if is_measured(path := measured_path(root, f"edit-control/{seed}")):
        return
    every = shown("test", SMALL.test, seed)
    rng = Randomness(seed).child("edits").for_examples(every.ids)
    editor = BackgroundEditor(load_generator(GENERATOR), SMALL.steps, SMALL.made)
    classifier = trained(MISLED, shown("train", SMALL.train, seed), seed, SMALL.epochs, progress)

    def edited(kind: str, weight: float = WEIGHT, *, painted: bool = True) -> Tensor:
        edit = Edit(SETTINGS[kind], editor if painted else None, None, weight=weight)
        found = edit.edit(every.images, every.masks, MOST, rng=rng, backgrounds=every.backgrounds, labels=every.labels)
        return found.images

    control = edited("inver")
    around = F.max_pool2d(every.masks[:, None].float(), 2 * AROUND + 1, 1, AROUND) > 0
    again, _ = drawn_anew([scene.model_copy(update={"seed": scene.seed + 1}) for scene in every.scenes])
    pictures = {
        "original": every.images,
        "control": control,
        "pasted": edited("inver", painted=False),
        "near": torch.where(around, control, every.images),
        "far": torch.where(around, every.images, control),
        "grain": again,
    }
    truth, before = [[label] for label in every.labels.tolist()], float(complexity(control).mean())
    found = {
        "seed": seed,
        "right": {
            name: round(float(decided_right(classifier, images, truth).mean()), 4) for name, images in pictures.items()
        },
        "drawn_into": round(float(drawn_into(control, every.images).double().mean()), 4),
        "complexity": {
            f"{weight:g}": [
                round(float(complexity(edited(kind, weight)).mean()) / before - 1, 4)
                for kind in ("plain_background", "complex_background")
            ]
            for weight in (20.0, WEIGHT)
        },
    }
    write_measured(path, found)


MEASUREMENTS: Measurements = {"edits": measure_edits, "control": measure_control}
