"""Plant shortcuts in scenes, train small networks on them, and see whether the check ``shortcuts`` names them.

    python scripts/measure_planted_shortcuts.py [--seeds 4] [--only KIND ...]

Stars and rings of 32 pixels. One thing follows the class in 95 % of the training images: the background, a small
circle, letters, or a patch of colour. A circle or a patch that follows nothing is in every image beside it. Each
network is examined on other images of its own kind, so of the same correlation. The same network, trained on images in
which nothing follows the class, is examined on the very same images: there nothing should be found.

Whether a class leans on what is planted is measured beside the check, on further images: how often it is right where
each image has the phrase of its class, and on the same images drawn without it, or on the other background.

Writes one file of docs/measured/planted-shortcuts for each kind and seed; those that are there are not measured again.
``python scripts/write_tables.py language_guided_augmentation`` puts them into the page. A network takes about half a
minute of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

import snellen
from snellen.core.images import ImageSet, Split
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.data.worlds.planting.scene_shortcuts import (
    BackgroundShortcut,
    Correlation,
    LetteringShortcut,
    ObjectShortcut,
    SceneShortcut,
)
from snellen.training.students import StudentPlan, as_classifier, measured, store_of, store_to_measure, train_student

FOLDER = Path(__file__).parents[1] / "docs" / "measured" / "planted-shortcuts"

CLASSES, GROUNDS, TEXTS = ("star", "ring"), ("grass", "sand"), ("AB", "XY")

#: Images of a training, and of an examination.
TRAINED_ON, EXAMINED, STRENGTH = 600, 200, 0.95

PLAN = StudentPlan(amount=300, widths=(8, 16, 32))

#: Colours of what is planted, which small networks tell apart at once, and of what is harmless beside such an object.
CLEAR, OTHERS = ("white", "purple"), ("cyan", "orange")
CIRCLE = {"radius": 0.15}
PATCH = {"shape": "square", "corner": "bottom right", "radius": 0.2}

#: Kind → what is planted, and the phrase by which a caption names it for each class.
PLANTED: Mapping[str, tuple[SceneShortcut, tuple[str, ...]]] = {
    "background": (BackgroundShortcut(backgrounds=GROUNDS, touch_test=True), GROUNDS),
    "side object": (ObjectShortcut(**CIRCLE, colours=CLEAR, touch_test=True), ("white circle", "purple circle")),
    "letters": (LetteringShortcut(texts=TEXTS, touch_test=True), tuple(f"text {one}" for one in TEXTS)),
    "colour patch": (ObjectShortcut(**PATCH, colours=CLEAR, touch_test=True), ("white square", "purple square")),
}


def scenes(
    kind: str, split: Split, count: int, seed: int, *, follows: bool, correlation: Correlation | None = None
) -> ImageSet:
    """Scenes with what is planted of this kind, which follows the class or does not, and something harmless.

    ``aligned`` gives each image the phrase of its class; ``conflicting`` the other background, or draws it without.
    """
    backgrounds = GROUNDS if kind == "background" else WORLD.backgrounds
    drawn = WORLD.model_copy(
        update={"count": count, "shapes": CLASSES, "backgrounds": backgrounds, "captions": True,
                "nuisance_share": 0.0, "seed": seed}
    )  # fmt: skip
    beside = PATCH if kind == "side object" else CIRCLE
    colours = OTHERS if kind in ("side object", "colour patch") else CLEAR
    harmless = ObjectShortcut(**beside, colours=colours, correlation="neutral", touch_test=True, key="harmless")
    images = harmless.plant(drawn.images(split=split), rng=Randomness(seed))
    if correlation == "conflicting" and kind != "background":
        return images
    planted, _ = PLANTED[kind]
    course = correlation or ("planted" if follows else "neutral")
    return planted.model_copy(update={"strength": STRENGTH, "correlation": course}).plant(
        images, rng=Randomness(seed + 1)
    )


def right_by_class(network: nn.Module, images: ImageSet, plan: StudentPlan, classes: Sequence[str]) -> dict[str, float]:
    """Share of the images of each class that a network decides rightly."""
    right = measured(network, store_to_measure(images, plan)).right
    return {name: float(right[images.labels == place].mean()) for place, name in enumerate(classes)}


def found(kind: str, seed: int, *, follows: bool) -> dict[str, object]:
    """What an audit says of one network that was trained on images with the shortcut, or without."""
    train = scenes(kind, "train", TRAINED_ON, 10 * seed, follows=follows)
    network = train_student(store_of(train, PLAN), PLAN, len(CLASSES), seed)
    images = scenes(kind, "val", EXAMINED, 10 * seed + 2, follows=True)
    alike = scenes(kind, "val", EXAMINED, 10 * seed + 4, follows=False)
    right = measured(network, store_to_measure(alike, PLAN)).right
    with_it, without = (
        right_by_class(
            network,
            scenes(kind, "val", EXAMINED, 10 * seed + 6, follows=True, correlation=correlation),
            PLAN,
            CLASSES,
        )
        for correlation in ("aligned", "conflicting")
    )
    report = snellen.audit(as_classifier(network, PLAN, CLASSES, "student"), images, checks=["clean", "shortcuts"])
    panels = [panel for panel in report.panels if panel.check == "shortcuts"]
    return {
        "follows": follows,
        "accuracy": report.metrics["clean.accuracy"].value,
        "accuracy_alike": float(right.mean()),
        "right_with_it": with_it,
        "right_without": without,
        "findings": [
            {"subject": one.subject, "level": one.level, "p_value": one.p_value}
            for one in report.findings
            if one.kind == "shortcut"
        ],
        "rows": [dict(zip(panel.head, row, strict=True)) for panel in panels for row in panel.rows],
    }


def main() -> None:
    """Measure what was not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=(), metavar="KIND", choices=PLANTED)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        for kind, (_, own) in PLANTED.items():
            target = FOLDER / f"{kind.replace(' ', '-')}-{seed}.json"
            if target.is_file() or (arguments.only and kind not in arguments.only):
                continue
            record = {
                "kind": kind,
                "seed": seed,
                "own": dict(zip(CLASSES, own, strict=True)),
                "networks": [found(kind, seed, follows=follows) for follows in (True, False)],
            }
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, canonical_json(record))
            print(target.name, flush=True)


if __name__ == "__main__":
    main()
