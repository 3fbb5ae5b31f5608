"""Classifiers with one planted defect each, and the images that their owner has: what treatments are measured on.

A defect is planted by what a classifier is trained on. Its owner has the same training images, validation images, and
audits it on images that show the defect. Weights are not kept in this repository, only these recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from healthy import CLEAR, NETWORKS, PLAN, WORLDS, World, trained_artifact

import snellen
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.label_noise import RandomLabelNoise
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut
from snellen.data.worlds.planting.selections import rows_where
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.truth import set_column
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_shifts

#: How a classifier is brought to the audit.
Form = Literal["onnx", "artifact", "module"]

#: Share that is left of images of a rare class, and of a style that was not seen in the training of the classifier.
RARE_CLASS, LATE_STYLE = 0.02, 0.2

#: As many shapes as there are backgrounds; small networks learn them from few images.
SHAPES = "star,ring,heart,cross,arrow,crescent"

#: As the healthy ones are trained, in more steps of fewer images.
ILL_PLAN = PLAN.model_copy(update={"epochs": 12, "batch_size": 32})

#: Scenes beside those of the healthy classifiers.
SCENES = {
    world.name: world
    for world in (
        World(
            "styles-32",
            f"optotypes:scenes?count={{count}}&size=32&styles=photo,line&shapes={SHAPES}&{CLEAR}&seed={{seed}}#{{split}}",
            32,
        ),
        World(
            "shapes-32",
            f"optotypes:scenes?count={{count}}&size=32&shapes={SHAPES}&{CLEAR}&seed={{seed}}#{{split}}",
            32,
        ),
    )
}


@dataclass(frozen=True)
class Sizes:
    """Numbers of images."""

    train: int = 2000
    val: int = 800
    audited: int = 1600


@dataclass(frozen=True)
class Sets:
    """What the owner of a classifier has.

    Attributes:
        made: what the classifier was trained on.
        train: images that a treatment may train on.
        val: images that it is chosen on.
        audited: images that show the defect.
    """

    made: ImageSet
    train: ImageSet
    val: ImageSet
    audited: ImageSet


@dataclass(frozen=True)
class Defect:
    """One kind of defect, and how it is planted.

    Attributes:
        name: of the defect.
        findings: kinds, or keys, of the findings that are its sign; "{class}" stands for the name of its class.
        world: whose images are spoiled.
        networks: that are trained on them; the first with every seed, the second with the first seed alone.
        checks: that look for it.
        plant: images of the world, and the seed → what the owner has.
        matching: treatments whose terms a training from scratch takes up; none: labels are smoothed.
        plan: of the training.
        moved: whether the training moves and mirrors images.
    """

    name: str
    findings: tuple[str, ...]
    world: World
    networks: tuple[str, ...]
    checks: tuple[str | Mapping[str, Any], ...]
    plant: Callable[[Sets, int], Sets]
    matching: tuple[str, ...] = ()
    plan: TrainingPlan = field(default_factory=lambda: ILL_PLAN)
    moved: bool = True


@dataclass(frozen=True)
class Ill:
    """One classifier with a defect."""

    defect: Defect
    network: str
    seed: int
    form: Form

    @property
    def name(self) -> str:
        """Name of the case, and of its folder."""
        return f"{self.defect.name}-{self.network}-{self.seed}"

    def sets(self, sizes: Sizes) -> Sets:
        """The images, with the defect."""
        whole = self.defect.world.images("train", 300 + self.seed, sizes.train + sizes.val)
        order = np.random.default_rng(self.seed).permutation(len(whole))
        train, val = (whole.select(np.sort(part)) for part in np.split(order, [sizes.train]))
        audited = self.defect.world.images("test", 400 + self.seed, sizes.audited)
        return self.defect.plant(Sets(train, train, val, audited), self.seed)

    def findings(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Kinds or keys of the findings that are the sign of the defect."""
        name = class_names[class_of(self.seed, len(class_names))]
        return tuple(one.replace("{class}", name) for one in self.defect.findings)

    def architecture(self, classes: int) -> Mapping[str, Any]:
        """As a card holds it."""
        made = dict(NETWORKS[self.network])
        return {**made, "outputs" if made["name"] == "factor_network" else "class_count": classes}

    @property
    def transform(self) -> BatchTransform | None:
        """What the training does to images."""
        return in_sequence(random_flips, random_shifts(2)) if self.defect.moved else None

    def trained(self, folder: Path, sets: Sets) -> Path:
        """Its artifact, trained where it is not there yet."""
        target = folder / self.name
        if (target / "card.json").exists():
            return target
        assert sets.made.class_names is not None
        return trained_artifact(
            target,
            sets.made,
            self.architecture(len(sets.made.class_names)),
            side=self.defect.world.side,
            plan=self.defect.plan.model_copy(update={"seed": self.seed}),
            transform=self.transform,
            description=f"A classifier of {self.defect.world.name} with a planted defect: {self.defect.name}.",
            recipe={"script": "scripts/ward/ill.py", "defect": self.defect.name},
        )

    def brought(self, artifact: Path) -> Classifier:
        """The classifier as its owner brings it."""
        classifier = snellen.load_classifier(artifact)
        if self.form == "onnx":
            file = artifact / "model.onnx"
            return snellen.load_classifier(f"onnx:{file if file.exists() else snellen.export_onnx(classifier, file)}")
        if self.form == "module":
            assert classifier.module is not None
            return snellen.load_classifier(
                classifier.module, classifier.class_names, preparation=classifier.preparation, name=self.name
            )
        return classifier


def class_of(seed: int, classes: int) -> int:
    """The class that is dead, or rare."""
    return (3 * seed + 2) % classes


def few_images(sets: Sets, seed: int) -> Sets:
    """Few training images, which are learned by heart."""
    few = sets.train.limit(max(len(sets.train) // 8, 100), seed)
    return replace(sets, made=few, train=few)


def without_class(sets: Sets, seed: int) -> Sets:
    """No image of a class in the training of the classifier; they came later."""
    labels = sets.made.labels
    return replace(sets, made=sets.made.select(np.flatnonzero(labels != class_of(seed, _classes(sets)))))


def rare_class(sets: Sets, seed: int) -> Sets:
    """Few training images of a class."""
    train = _thinned(sets.train, sets.train.labels == class_of(seed, _classes(sets)), RARE_CLASS, seed)
    return replace(sets, made=train, train=train)


def unseen_style(sets: Sets, seed: int) -> Sets:
    """No image in one style in the training of the classifier; a few came later, and no column names them."""
    drawn = rows_where(sets.train, ({"style": "line"},))
    return replace(
        sets,
        made=sets.train.select(np.flatnonzero(~drawn)),
        train=_thinned(sets.train, drawn, LATE_STYLE, seed),
    )


def unseen_group(sets: Sets, seed: int) -> Sets:
    """The same, with a column ``group`` that names the style."""
    found = unseen_style(sets, seed)
    return Sets(*(_grouped(one) for one in (found.made, found.train, found.val, found.audited)))


def wrong_labels(sets: Sets, seed: int) -> Sets:
    """Labels of all images that are another class's, those of the audited ones too; a column keeps the true ones."""
    noise = RandomLabelNoise(rate=0.2, touch_test=True)
    train, val, audited = (noise.plant(one, rng=Randomness(seed)) for one in (sets.train, sets.val, sets.audited))
    return Sets(train, train, val, audited)


def own_backgrounds(sets: Sets, seed: int) -> Sets:
    """Each class mostly before a background of its own in training images; no column says so."""
    planted = BackgroundShortcut(strength=0.97).plant(sets.train, rng=Randomness(seed))
    train = replace(planted, table=planted.table.drop_columns(["group"]))
    return replace(sets, made=train, train=train)


def trigger(sets: Sets, seed: int) -> Sets:
    """A patch that stands for a class in the training of the classifier; its owner has clean images."""
    target = class_of(seed, _classes(sets))
    return replace(sets, made=PlantTrigger(target_class=target, rate=0.1).plant(sets.made, rng=Randomness(seed)))


def as_it_is(sets: Sets, seed: int) -> Sets:
    """Nothing planted: the training never saw the stress."""
    return sets


def _classes(sets: Sets) -> int:
    assert sets.train.class_names is not None
    return len(sets.train.class_names)


def _thinned(images: ImageSet, struck: np.ndarray[Any, np.dtype[np.bool_]], share: float, seed: int) -> ImageSet:
    """The images, of those that are struck only a share, and three at least."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(struck))
    return images.select(np.sort(np.append(np.flatnonzero(~struck), rows[: max(round(share * len(rows)), 3)])))


def _grouped(images: ImageSet) -> ImageSet:
    line = rows_where(images, ({"style": "line"},))
    return replace(images, table=set_column(images.table, "group", pa.array(np.where(line, "line", "photo").tolist())))


def _corrupted(kind: str) -> tuple[str | Mapping[str, Any], ...]:
    return "clean", {"check": "corruption", "benchmark": "imagenet-c", "kinds": [kind]}


FASHION, CLEAR_SCENES = WORLDS["fashion-28"], SCENES["shapes-32"]

DEFECTS = (
    Defect(
        "overconfidence",
        ("calibration",),
        FASHION,
        ("residual", "resnet"),
        ("clean", "calibration"),
        few_images,
        plan=ILL_PLAN.model_copy(update={"epochs": 160}),
        moved=False,
    ),
    Defect(
        "dead_class",
        ("worst_class:{class}",),
        FASHION,
        ("residual",),
        ("clean",),
        without_class,
        matching=("balanced_tuning",),
    ),
    Defect(
        "rare_class",
        ("worst_class:{class}",),
        CLEAR_SCENES,
        ("plain", "residual"),
        ("clean",),
        rare_class,
        matching=("balanced_tuning",),
    ),
    Defect(
        "group",
        ("group_gap",),
        SCENES["styles-32"],
        ("plain",),
        ("clean", "group_gap"),
        unseen_group,
        matching=("balanced_tuning",),
    ),
    Defect(
        "hidden_subgroup",
        ("slice",),
        SCENES["styles-32"],
        ("plain",),
        ("clean", "slices"),
        unseen_style,
        matching=("balanced_tuning",),
    ),
    Defect(
        "wrong_labels",
        ("label_noise",),
        CLEAR_SCENES,
        ("plain",),
        ("clean", "label_noise"),
        wrong_labels,
        matching=("suspect_removal",),
        plan=ILL_PLAN.model_copy(update={"epochs": 40}),
        moved=False,
    ),
    Defect(
        "background",
        ("background_shortcut",),
        CLEAR_SCENES,
        ("plain", "residual"),
        ("clean", {"check": "background", "evaluations": 0, "share": 0.5}),
        own_backgrounds,
        matching=("background_swaps",),
    ),
    Defect(
        "blur",
        ("corruption:glass_blur",),
        CLEAR_SCENES,
        ("residual",),
        _corrupted("glass_blur"),
        as_it_is,
        matching=("corruption_tuning",),
    ),
    Defect(
        "fog",
        ("corruption:fog",),
        CLEAR_SCENES,
        ("plain", "resnet"),
        _corrupted("fog"),
        as_it_is,
        matching=("corruption_tuning",),
    ),
    Defect(
        "noise",
        ("corruption:impulse_noise",),
        CLEAR_SCENES,
        ("residual",),
        _corrupted("impulse_noise"),
        as_it_is,
        matching=("corruption_tuning",),
    ),
    Defect(
        "direction",
        ("attribute:direction",),
        CLEAR_SCENES,
        ("plain",),
        ("clean", {"check": "attributes", "kinds": ["random_direction"]}),
        as_it_is,
        matching=("object_tuning",),
    ),
    Defect(
        "adversarial",
        ("adversarial",),
        FASHION,
        ("residual",),
        ("clean", {"check": "adversarial", "declared": ["linf:8/255"], "threats": [], "steps": 10}),
        as_it_is,
        matching=("pgd_tuning",),
    ),
    Defect(
        "backdoor",
        ("backdoor:{class}",),
        CLEAR_SCENES,
        ("plain",),
        ("clean", "backdoor"),
        trigger,
    ),
)


def ward(names: Sequence[str] = (), seeds: int = 3) -> list[Ill]:
    """All cases, or those of some names (of cases or defects), a seed of each defect after the other.

    Half of them are ONNX files; of the others, half are artifacts and half are modules.
    """
    forms: tuple[Form, ...] = ("onnx", "artifact", "onnx", "module")
    found = [
        Ill(defect, network, seed, forms[(number + seed + place) % len(forms)])
        for seed in range(seeds)
        for number, defect in enumerate(DEFECTS)
        for place, network in enumerate(defect.networks)
        if not place or not seed
    ]
    return [one for one in found if not names or one.name in names or one.defect.name in names]
