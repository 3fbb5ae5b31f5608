"""What a report says under a finding: the command that treats it, or what to do instead."""

from __future__ import annotations

import json
import shlex
from functools import cache
from importlib import resources
from typing import NamedTuple

from snellen.core import index
from snellen.core.finding import Finding

#: Kind of finding → why there is no treatment, and what helps.
UNTREATED: dict[str, str] = {
    "class_order": "nothing is wrong with the weights: name the classes in the order of the outputs (--classes FILE)",
    "unanswered_classes": "compare the class names and the last layer with those of the training. If both are right, "
    "treat each class by its own finding (worst_class:NAME)",
    "in_sample": "the figures are of images that the classifier knows: audit it on others",
    "gradient_masking": "it hides a weakness and is none: believe the accuracy under attacks without gradients, and "
    "treat the finding 'adversarial'",
    "multi_label": "an image of several classes needs several labels: snellen train label-maps",
    "costly_decisions": "decide for the class of least expected cost instead of the most probable one. That "
    "is (probabilities @ costs).argmin(1), with the table of costs in the order of the classes",
    "metadata_shortcut": "collect images of every class from every group, or train with equal weight for each pair of "
    "class and group. Audit on images in which label and group are independent",
    "out_of_distribution": "a person must look at the images that lists/out_of_distribution.csv names: leave them out, "
    "or collect more of their kind for training",
    "coverage": "images that are missing must be collected or generated",
    "data_quality": "files must be repaired or left out: lists/data_quality.json names them",
    "unsafe_content": "a person must review the images",
    "generated_content": "a person must review the images",
    "manipulated_region": "a person must review the images that lists/edits.csv names: the desk (snellen ui) shows the "
    "audited ones; to review training images there, audit them",
    "generator_failure": "it is one of a generator and not of the classifier",
    "memorisation": "it is one of a generator and not of the classifier",
    "unforgotten": "train again without the examples that should be forgotten",
    "temporal": "frames must be decided together, which a classifier of single images does not do",
    "texture_seam": "it is one of the images and not of the classifier",
    "duplicate": "it is one of the images: audit lists/unique_images.csv, which holds one of each group",
    "leakage": "it is one of the images: audit lists/unleaked_images.csv, which leaves them out",
    "membership": "train it anew with fewer passes, more augmentation or a larger weight decay. An image whose owner "
    "objects is taken out with snellen forget, which measures such an attack before and after",
    "bag_accuracy": "bags are decided from their images: train with labels of bags (snellen train bag-pooling)",
    "missed_bags": "choose the threshold on validation bags: --set bags.threshold=VALUE",
    "bag_false_alarms": "choose the threshold on validation bags: --set bags.threshold=VALUE",
    "bag_group_gap": "choose the threshold on validation bags of every group: --set bags.threshold=VALUE",
    "bag_evidence": "check the images that lists/bags.json names: labels of images or bags contradict the model",
    "bag_contradiction": "correct the labels that lists/bags.json names",
}


#: The same of a model of several labels an image; of all other kinds :data:`UNTREATED`.
UNTREATED_LABELS: dict[str, str] = {
    "accuracy": "the scores hardly separate images with the label from others: train the model anew with more images "
    "that show it",
    "corruption": "nothing here trains a model of several labels an image: train it anew with images under this damage "
    "(snellen shift writes some)",
    "nuisance": "nothing here trains a model of several labels an image: train it anew with images under this change",
    "adversarial": "nothing here trains a model of several labels an image: train it anew with attacked images",
    "group_gap": "nothing here trains a model of several labels an image: train it anew with more images of this group "
    "with and without the label",
    "slice": "nothing here trains a model of several labels an image: train it anew with more images like these",
    "label_noise": "a person must look at the labels that lists/label_noise.json names, and train the model anew. "
    "Nothing here trains a model of several labels an image",
    "drift": "give new images of the kind that will come with --val, to treat 'threshold' or 'calibration'. The "
    "weights must be trained anew",
    "backdoor": "nothing here trains a model of several labels an image: train it anew from weights that are trusted",
}

#: The same of a kind that is treated where an image has one class.
OTHER_LABELS = (
    "nothing here trains a model of several labels an image. Train it anew with images that have the label without "
    "what was found, and the other way round"
)


#: How a command begins that is run in the folder of the report, and how it names what it writes.
IN_FOLDER, INTO = "snellen treat .", "--out treated"

#: What stands for training images, where the audit was given none.
TRAINING_IMAGES = "TRAINING_IMAGES"

#: What stands for validation images, to which only scores and thresholds are fitted.
VALIDATION_IMAGES = "VALIDATION_IMAGES"

#: What stands for classifier and images that were objects, and have no reference that opens them again.
AUDITED_MODEL, AUDITED_IMAGES = "AUDITED_MODEL", "AUDITED_IMAGES"

#: Where predictions were audited, and no model.
ONLY_PREDICTIONS = "only predictions are known; audit the model itself to treat this"

#: What each of them stands for, in words that follow it.
STAND_FOR = {
    TRAINING_IMAGES: "labelled images that it may be trained on",
    VALIDATION_IMAGES: "labelled images that scores and thresholds may be fitted to",
    AUDITED_MODEL: "what opens the same classifier again; an export is another one, and is audited first",
    AUDITED_IMAGES: "what opens the same images again",
}


#: Fewer cases set no treatment aside.
ENOUGH = 3

#: The treatment that every other fine-tuning must beat.
PLAIN = "plain_tuning"


class Rung(NamedTuple):
    """A treatment by its name, and how many passes over the training images it costs, about."""

    name: str
    passes: float


class BesidePlain(NamedTuple):
    """What a finding measures after a treatment less after plain fine-tuning, pooled over cases; negative is better."""

    cases: int
    difference: float
    low: float
    high: float


@cache
def beside_plain() -> dict[tuple[str, str], BesidePlain]:
    """What was measured of treatments, by kind of finding and name; ``scripts/ward/treated.py`` writes the table."""
    source = resources.files("snellen.checks").joinpath("measured_treatments.json")
    rows = json.loads(source.read_text(encoding="utf-8"))["rows"]
    return {
        (row["kind"], row["treatment"]): BesidePlain(row["cases"], row["difference"], row["low"], row["high"])
        for row in rows
    }


@cache
def _treatments(several: bool = False) -> tuple[tuple[Rung, tuple[str, ...]], ...]:
    loaded = [one for entry in index.methods("treatments").values() if (one := entry.load()).several == several]
    return tuple(sorted((Rung(one.name, one.passes), tuple(one.treats)) for one in loaded))


def ladder(kind: str, *, several: bool = False) -> tuple[Rung, ...]:
    """The treatments of a kind of finding that are advised, the cheapest first; empty where there is none.

    Those of :func:`set_aside` are left out. Of models of ``several`` labels an image they are others.

    >>> [rung.name for rung in ladder("calibration")]
    ['temperature_scaling', 'vector_scaling', 'dirichlet_scaling']
    """
    if several:
        return tuple(_known(kind, several=True))
    return tuple(rung for rung in _known(kind) if rung.name not in set_aside(kind))


def set_aside(kind: str) -> frozenset[str]:
    """Treatments of a kind that were no better than plain fine-tuning where both were measured, and are no cheaper.

    Those that were significantly worse, and those without a significant difference that cost as much. Fewer than
    :data:`ENOUGH` cases set none aside.
    """
    plain = next(rung.passes for rung, _ in _treatments() if rung.name == PLAIN)
    found = set()
    for rung in _known(kind):
        measured = beside_plain().get((kind, rung.name))
        if measured is None or measured.cases < ENOUGH or measured.high < 0 or rung.name == PLAIN:
            continue
        if measured.low > 0 or rung.passes >= plain:
            found.add(rung.name)
    return frozenset(found)


def _known(kind: str, *, several: bool = False) -> list[Rung]:
    return sorted((rung for rung, kinds in _treatments(several) if kind in kinds), key=lambda rung: rung[::-1])


def untreated(kind: str, *, several: bool = False) -> str | None:
    """Why nothing treats a kind of finding, and what helps, in a sentence; None: nothing is known of the kind."""
    if not several or ladder(kind, several=True):
        return UNTREATED.get(kind)
    # A kind that is treated where an image has one class needs weights that are trained.
    return UNTREATED_LABELS.get(kind) or UNTREATED.get(kind) or (OTHER_LABELS if _known(kind) else None)


def treatments(finding: Finding, *, trained: bool, several: bool = False, reopened: bool = True) -> tuple[str, ...]:
    """What treats a finding: a command that is run in the folder of the report, or a sentence; nothing is known: none.

    Args:
        finding: of any kind.
        trained: whether the audit was given training images, which the treatment then finds by itself; of several
            labels, training or validation images.
        several: whether the model gives several labels an image.
        reopened: whether classifier and images are opened again by what the run directory says; objects are not.

    >>> treatments(Finding(kind="corruption", subject="fog", harm=0.1, title="Fog costs 20 points"), trained=True)
    ('snellen treat . --finding corruption:fog --out treated',)
    """
    if not ladder(finding.kind, several=several):
        why = untreated(finding.kind, several=several)
        return () if why is None else (why,)
    train = f" --val {VALIDATION_IMAGES}" if several else f" --train {TRAINING_IMAGES}"
    train = "" if trained and reopened else train
    objects = "" if reopened else f" --model {AUDITED_MODEL} --images {AUDITED_IMAGES}"
    return (f"{IN_FOLDER} --finding {shlex.quote(finding.key)}{train}{objects} {INTO}",)


def in_python(command: str, key: str | None = None) -> str:
    """The same in Python where classifier and images were objects, which the report knows; else empty.

    Args:
        command: that names such objects by what stands for them.
        key: of the one finding that it treats: the call alone; None: of all, and what is done with the result.

    >>> print(in_python("snellen treat . --train TRAINING_IMAGES --model AUDITED_MODEL --images AUDITED_IMAGES"))
    treated = snellen.treat(report, train=TRAINING_IMAGES)
    treated.show()
    treated.module
    >>> print(in_python("snellen treat . --finding slice --model AUDITED_MODEL --images AUDITED_IMAGES", "slice"))
    snellen.treat(report, findings="slice", train=TRAINING_IMAGES)
    """
    if AUDITED_MODEL not in command:
        return ""
    given = f"val={VALIDATION_IMAGES}" if VALIDATION_IMAGES in command else f"train={TRAINING_IMAGES}"
    if key is not None:
        return f"snellen.treat(report, findings={json.dumps(key, ensure_ascii=False)}, {given})"
    return f"treated = snellen.treat(report, {given})\ntreated.show()\ntreated.module"


def from_elsewhere(command: str, folder: str) -> str:
    """A command for the folder of a report, as it is given from elsewhere.

    >>> from_elsewhere("snellen treat . --finding calibration --out treated", "runs/shop")
    'snellen treat runs/shop --finding calibration --out runs/shop-treated'
    """
    if not command.startswith(IN_FOLDER):
        return command
    named = command.replace(IN_FOLDER, f"snellen treat {shlex.quote(folder)}", 1)
    return named.removesuffix(INTO) + f"--out {shlex.quote(folder.rstrip('/') + '-treated')}"
