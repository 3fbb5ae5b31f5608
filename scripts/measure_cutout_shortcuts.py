"""Plant a shortcut behind real cut-outs, and see whether the check ``shortcuts`` names it.

    python scripts/measure_cutout_shortcuts.py [--seeds 3]

Stamps of Tux Paint, animals, and household goods or vehicles, stand before two photographs, a palace and a dahlia; a
sticker in a corner is red or blue. The photograph follows the class in 95 % of the training images, and the sticker
follows nothing. Networks that were trained on images in which nothing follows the class are examined on the very same
ones. Masks are those of the cut-outs. An oracle stands in for the detector: it knows the corner, and looks whether the
colour is there. Fill and lent backgrounds are the check's own.

Networks are examined twice: on the stamps that they learned, at other places and sizes and before other parts of the
photographs, and on stamps that they did not see. The second are too hard for a network without a shortcut; so what is
found nowhere there says little, and the first are the control.

Needs the sets that ``snellen.load_images`` names ``known:stamps`` and ``known:photos``. Writes one file of
docs/measured/cutout-shortcuts for each seed and kind of stamps; those that are there are not measured again. About a
minute of a core for a seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from measure_planted_shortcuts import right_by_class
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

import snellen
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import canonical_json, write_atomically
from snellen.data.files.catalogue.cutout_source import Background, Placement
from snellen.data.files.catalogue.known_set import find_set, known_set
from snellen.data.files.catalogue.stamps import load_stamps
from snellen.data.worlds.planting.truth import set_column
from snellen.models.detectors.protocol import Detected
from snellen.systems.language_guided_augmentation.augmenting import look
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.edits import DetectedEditor, PhraseEditor
from snellen.training.batches import ImageStore
from snellen.training.students import StudentPlan, as_classifier, measured, store_to_measure, train_student

FOLDER = Path(__file__).parents[1] / "docs" / "measured" / "cutout-shortcuts"

#: Class → folders of the stamps.
CLASSES = {"animal": ("animals",), "thing": ("household", "vehicles")}
PHOTOS = {"palace": "china.jpg", "dahlia": "flower.jpg"}
STICKERS = {"red": (220, 30, 30), "blue": (30, 60, 220)}

#: Edge of the pictures and of the sticker, pixels.
SIDE, STICKER = 64, 12

#: Pictures of each stamp that are trained on, and how often what is planted follows the class.
EACH, STRENGTH = 6, 0.95

#: Where each stamp lies where it is examined, and where it is measured whether a class leans: after those of training.
LOOKED_AT, MEASURED_AT = EACH, EACH + 1

KIND = "background"
PLAN = StudentPlan(amount=200, batch_size=32, widths=(8, 16, 32))


@dataclass(frozen=True)
class CornerDetector:
    """Knows where stickers are: it finds "red sticker" where the corner is red."""

    name: str = "corner oracle"

    def identity(self) -> str:
        """There are no weights."""
        return self.name

    def detect(self, images: Sequence[Tensor], phrases: Sequence[str], *, threshold: float = 0.3) -> list[Detected]:
        """A box, where the middle of the corner has the colour of the phrase."""
        found = []
        for image, phrase in zip(images, phrases, strict=True):
            inner = image[:, 3 : STICKER - 3, 3 : STICKER - 3].flatten(1).mean(1) * 255
            there = any(
                phrase == f"{colour} sticker" and float((inner - torch.tensor(value).float()).abs().max()) < 40
                for colour, value in STICKERS.items()
            )
            boxes = torch.tensor([[0.0, 0.0, float(STICKER), float(STICKER)]] * there).reshape(-1, 4)
            found.append(Detected(boxes=boxes, scores=torch.ones(len(boxes))))
        return found


class ByOracle(Shortcuts):
    """The check with the oracle as its detector."""

    detector: str | None = "oracle"

    def editor(self, device: str) -> PhraseEditor:
        """Its own fill, lent backgrounds and ring around what goes; masks are those of the images."""
        return DetectedEditor(CornerDetector(), dilate=self.dilate)


def ground(photo: Image.Image, colour: tuple[int, int, int], name: str) -> Background:
    """A part of a photograph behind each cut-out, with a sticker in its upper left corner."""

    def behind(number: int) -> Image.Image:
        draws = np.random.default_rng(derive_seed(0, name, number))
        edge = int(min(photo.size) * draws.uniform(0.5, 0.9))
        left, top = (int(draws.integers(0, free - edge + 1)) for free in photo.size)
        part = ImageOps.fit(photo.crop((left, top, left + edge, top + edge)).convert("RGB"), (SIDE, SIDE))
        ImageDraw.Draw(part).rectangle((0, 0, STICKER - 1, STICKER - 1), fill=colour)
        return part

    return behind


@cache
def stamps(placement: int) -> ImageSet:
    """Every stamp of the classes before each photograph with each sticker, in two classes and with captions."""
    photos = snellen.load_images("known:photos")
    pictures = {name: photos.read(next(at for at, one in enumerate(photos.ids) if file in one))
                for name, file in PHOTOS.items()}  # fmt: skip
    behind = {
        f"{name} {colour}": ground(picture, value, name)
        for name, picture in pictures.items()
        for colour, value in STICKERS.items()
    }
    (folder,) = find_set(known_set("stamps"))
    placed = Placement(size=SIDE, least_share=0.45, most_share=0.65, seed=placement)
    every = load_stamps(folder, placement=placed, backgrounds=behind)
    of = {place: name for name, folders in CLASSES.items() for place, one in enumerate(every.class_names or ())
          if one in folders}  # fmt: skip
    kept = every.select(np.flatnonzero(np.isin(every.labels, list(of))))
    names = [of[label] for label in kept.labels.tolist()]
    behind_each = [str(one).split() for one in kept.column("group")]
    captions = [
        f"a photo of a {name} in front of a {photo}, with a {colour} sticker"
        for name, (photo, colour) in zip(names, behind_each, strict=True)
    ]
    labels = pa.array([tuple(CLASSES).index(name) for name in names], pa.int64())
    ids = [f"{placement}/{one}" for one in kept.ids]
    # Records of stamps are no scenes.
    table = kept.table.drop_columns([name for name in ("attributes",) if name in kept.table.column_names])
    for column, values in (("id", pa.array(ids)), ("caption", pa.array(captions)), ("label", labels)):
        table = set_column(table, column, values)
    return replace(kept, table=table, class_names=tuple(CLASSES))


def drawn(units: set[str], placement: int, seed: int, *, strength: float) -> ImageSet:
    """One picture of each stamp of some: what is planted follows the class so often; the rest is drawn."""
    images = stamps(placement)
    rng = np.random.default_rng(derive_seed(seed, KIND, placement, str(strength)))
    rows: dict[str, dict[str, int]] = {}
    for row, (unit, group) in enumerate(zip(images.column("unit_id"), images.column("group"), strict=True)):
        if str(unit) in units:
            rows.setdefault(str(unit), {})[str(group)] = row
    chosen = []
    for own in rows.values():
        label = int(images.labels[next(iter(own.values()))])
        aligned = label if rng.random() < strength else 1 - label
        other = int(rng.integers(2))
        chosen.append(own[f"{tuple(PHOTOS)[aligned]} {tuple(STICKERS)[other]}"])
    return images.select(np.array(chosen))


def examined(network: nn.Module, units: set[str], seed: int, *, follows: bool) -> dict[str, object]:
    """What the check says of a network on some stamps, and beside it whether the classes lean on their photograph."""
    images, alike = (drawn(units, LOOKED_AT, seed, strength=strength) for strength in (STRENGTH, 0.5))
    with_it, without = (
        right_by_class(network, drawn(units, MEASURED_AT, seed, strength=strength), PLAN, tuple(CLASSES))
        for strength in (1.0, 0.0)
    )
    classifier = as_classifier(network, PLAN, tuple(CLASSES), "student")
    looked = look(classifier, images, ByOracle(most=None), Randomness(seed).child("looking"))
    leans = [] if looked.found is None else looked.found.tested
    return {
        "follows": follows,
        "accuracy": float(measured(network, store_to_measure(images, PLAN)).right.mean()),
        "accuracy_alike": float(measured(network, store_to_measure(alike, PLAN)).right.mean()),
        "right_with_it": with_it,
        "right_without": without,
        "findings": [
            {"subject": f"{tuple(CLASSES)[one.label]}: {one.phrase}", "p_value": one.p_value()}
            for one in leans
            if one.p_value() < 0.05 / len(leans)
        ],
        "rows": [
            {
                "class": tuple(CLASSES)[one.label],
                "phrase": one.phrase,
                "images": one.images,
                "flipped": round(one.share(), 4),
                "control": round(one.share(control=True), 4),
                "beyond": round(one.lower, 4),
                "score": round(one.score, 4),
            }
            for one in sorted(leans, key=lambda one: (-one.lower, -one.score, one.label, one.phrase))
        ],
    }


def found(seed: int) -> Mapping[str, list[dict[str, object]]]:
    """For each kind of stamps, what is said of a network that was trained with the shortcut, and of one without."""
    labels = dict(zip(map(str, stamps(0).column("unit_id")), stamps(0).labels.tolist(), strict=True))
    units = np.random.default_rng(seed).permutation(sorted(labels))
    halves = {
        "learned stamps": set(units[: len(units) // 2].tolist()),
        "other stamps": set(units[len(units) // 2 :].tolist()),
    }
    results: dict[str, list[dict[str, object]]] = {name: [] for name in halves}
    for follows in (True, False):
        strength = STRENGTH if follows else 0.5
        parts = [drawn(halves["learned stamps"], place, seed, strength=strength) for place in range(EACH)]
        stores = [ImageStore.of_images(part, PLAN.preparation) for part in parts]
        joined = ImageStore.of_tensors(
            torch.cat([one.images for one in stores]), torch.cat([one.targets for one in stores])
        )
        network = train_student(joined, PLAN, len(CLASSES), seed)
        for name, half in halves.items():
            results[name].append(examined(network, half, seed, follows=follows))
    return results


def main() -> None:
    """Measure what was not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        targets = {
            name: FOLDER / f"{name.replace(' ', '-')}-{seed}.json" for name in ("learned stamps", "other stamps")
        }
        if all(target.is_file() for target in targets.values()):
            continue
        own = dict(zip(CLASSES, PHOTOS, strict=True))
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, networks in found(seed).items():
            write_atomically(
                targets[name],
                canonical_json({"kind": f"{KIND}, {name}", "seed": seed, "own": own, "networks": networks}),
            )
            print(targets[name].name, flush=True)


if __name__ == "__main__":
    main()
