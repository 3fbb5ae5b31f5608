"""Audits of models that exist only as numbers: how often healthy ones get findings, and how often faults are found.

A simulated model is calibrated, errs alike on all classes and groups, loses nothing under corruptions, and sees images
like those it was trained on, with right labels. A fault changes one of these by a stated size. What is simulated goes
through the checks and the joint judgement of a real audit; only pictures are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snellen.auditing.checks import CHECKS as ALL_CHECKS
from snellen.auditing.checks import resolve_checks
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.concluding import judge
from snellen.checks.check import Check, CheckInput
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import unknown_name
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.benchmarks import IMAGENET_C, benchmark
from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.properties import ImageProperties
from snellen.metrics.sweep import setting_name

Fault = Literal["none", "class", "group", "slice", "calibration", "label_noise", "corruption", "drift"]

#: Kind of finding that reports each fault.
TELLS: dict[Fault, str] = {
    "class": "worst_class",
    "group": "group_gap",
    "slice": "slice",
    "calibration": "calibration",
    "label_noise": "label_noise",
    "corruption": "corruption",
    "drift": "drift",
}

#: Share of the images in the planted slice, and in each of the groups.
SLICE_SHARE, GROUPS = 0.05, 4

#: How far the planted slice lies from the rest along one of 24 features, in standard deviations.
SLICE_DISTANCE = 5.0

#: Checks that conclude from numbers alone.
CHECKS = tuple(name for name in ALL_CHECKS if name not in ("adversarial", "multi_label", "shortcuts", "backdoor"))


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        images: audited images, and as many of training.
        classes: how many.
        unit_size: images of one unit, which share class, group, how hard they are, and what corruptions do to them.
        majority: share of the first class; the others are equally frequent. None: all are.
        accuracy: of the healthy model, roughly.
        fault: what is wrong; ``none`` is a healthy model.
        size: of the fault: accuracy lost (class, group, slice, corruption, as a share), share of wrong labels, how many
            times too sure (calibration: the factor on the scores), shift in standard deviations (drift).
    """

    images: int = 1000
    classes: int = 10
    unit_size: int = 1
    majority: float | None = None
    accuracy: float = 0.9
    fault: Fault = "none"
    size: float = 0.0

    def __post_init__(self) -> None:
        if self.fault != "none" and self.fault not in TELLS:
            raise unknown_name("fault", self.fault, TELLS)


#: The corruptions of a simulated audit, where they are only named: each of the published kinds by itself.
PUBLISHED: Mapping[str, object] = {"check": "corruption", "benchmark": IMAGENET_C}


def simulated_audit(world: World, seed: int, checks: Sequence[str | Mapping[str, object]] = CHECKS) -> list[Finding]:
    """Findings of one audit of a simulated model, ranked; checks as in :func:`snellen.audit`.

    >>> simulated_audit(World(images=300), 0, checks=["clean", "group_gap"])
    []
    """
    rng = np.random.default_rng([seed, world.images, world.unit_size])
    chosen: list[Check] = resolve_checks([PUBLISHED if one == "corruption" else one for one in checks])
    audited, training = _images(world, rng, "test"), _images(replace(world, fault="none"), rng, "train")
    evidence = {
        check.name: _corrupted(world, audited, check.chosen, check.severities, rng)
        for check in chosen
        if isinstance(check, CommonCorruptions)
    }
    names = [f"class {number}" for number in range(world.classes)]
    classifier = Classifier(
        nn.Flatten(), class_names=names, preparation=Preprocessing(size=(224, 224)), name="simulated"
    )
    conclusions = {
        check.name: check.conclude(
            CheckInput(
                evidence=evidence.get(check.name, Evidence.merge([])),
                images=audited,
                classifier=classifier,
                companions={"train": training},
                rng=Randomness(seed),
            )
        )
        for check in chosen
    }
    return judge(chosen, conclusions)[0]


def finds_fault(world: World, findings: Sequence[Finding]) -> bool:
    """Whether the fault of a world is among the findings: the very class, group, corruption or slice.

    A slice is the planted one when most of the images that it shows are in that.
    """
    return any(
        finding.kind == TELLS[world.fault] and _is_it(world, finding) for finding in findings if world.fault != "none"
    )


def in_slice(units: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether images of these units are in the planted slice: a twentieth of the units, scattered over them."""
    return units * 2654435761 % 2**32 < SLICE_SHARE * 2**32


def _is_it(world: World, finding: Finding) -> bool:
    subjects = {
        "class": "class 0",
        "group": "group 0",
        "corruption": benchmark(IMAGENET_C).main[0],
        "drift": "features",
    }
    if world.fault == "slice":
        shown = np.array([int(example.example_id.rpartition("/")[2]) for example in finding.examples])
        return len(shown) > 0 and float(in_slice(shown // world.unit_size).mean()) > 0.5
    # A family of damage is one finding, which names its worst kind.
    named = finding.facts.get("corruption", finding.subject)
    return world.fault not in subjects or named == subjects[world.fault]


def _majority(share: float, classes: int) -> NDArray[np.float64]:
    frequent = np.full(classes, (1 - share) / (classes - 1))
    frequent[0] = share
    return frequent


def _images(world: World, rng: np.random.Generator, name: str) -> PerImage:
    """Images of a model whose probabilities are true, unless the fault says otherwise."""
    n, k = world.images, world.classes
    units = np.arange(n) // world.unit_size
    frequent = np.full(k, 1 / k) if world.majority is None else _majority(world.majority, k)
    truth = np.repeat(rng.choice(k, units.max() + 1, p=frequent), world.unit_size)[:n]
    groups = np.repeat(rng.integers(0, GROUPS, units.max() + 1), world.unit_size)[:n]
    hidden = in_slice(units)
    # Hardness is shared within a unit; labels are drawn from the stated probabilities, which are thus calibrated.
    hardness = np.repeat(rng.gamma(0.35, 1 / 0.35, units.max() + 1), world.unit_size)[:n]
    error = np.clip((1 - world.accuracy) * hardness, 0.0001, 0.7)
    scores, favoured = _scores(error, truth, k, rng)
    labels = _drawn(scores, rng)
    features = rng.normal(size=(n, 24))
    features[:, :8] += 3.0 * np.random.default_rng(1).normal(size=(k, 8))[favoured]
    spoilt = {"class": labels == 0, "group": groups == 0, "slice": hidden}.get(world.fault)
    if spoilt is not None:
        lost = spoilt & (labels == favoured) & (rng.random(n) < world.size / world.accuracy)
        rows, other = np.flatnonzero(lost), ((labels + 1 + rng.integers(0, k - 1, n)) % k)[lost]
        scores[rows, other], scores[rows, labels[lost]] = scores[rows, labels[lost]], scores[rows, other]
    if world.fault == "slice":
        features[hidden, 12] += SLICE_DISTANCE
    if world.fault == "label_noise":
        labels = np.where(rng.random(n) < world.size, (labels + 1 + rng.integers(0, k - 1, n)) % k, labels)
    if world.fault == "drift":
        features += world.size * np.random.default_rng(2).normal(size=24) / 24**0.5 * 2
    if world.fault == "calibration":
        scores = scores * world.size
    sure = np.exp(scores - scores.max(1, keepdims=True))
    return PerImage(
        ids=tuple(f"{name}/{number:06d}" for number in range(n)),
        labels=labels,
        predictions=scores.argmax(1),
        confidence=(sure / sure.sum(1, keepdims=True)).max(1),
        unit_ids=tuple(f"{name}/unit {unit}" for unit in units),
        unit_names=tuple(f"{name}/unit {unit}" for unit in units),
        units=None if world.unit_size == 1 else units,
        groups=tuple(f"group {group}" for group in groups),
        splits=(name,) * n,
        scores=scores,
        features=features.astype(np.float32),
        pixel_hashes=tuple(f"{name} {number}" for number in range(n)),
        fingerprints=_fingerprints(n, rng),
        properties=ImageProperties(*np.exp(0.2 * rng.normal(size=(len(ImageProperties.__annotations__), n))) / 3),
    )


def _scores(
    error: NDArray[np.float64], truth: NDArray[np.int64], classes: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probabilities (n, k) that favour one class by 1 − error, and that class."""
    n = len(error)
    rest = rng.dirichlet(np.ones(classes - 1), n) * error[:, None]
    probabilities = np.empty((n, classes))
    rows = np.arange(n)
    others = (truth[:, None] + 1 + np.arange(classes - 1)) % classes
    probabilities[rows, truth] = 1 - error
    probabilities[rows[:, None], others] = rest
    scores = np.log(np.maximum(probabilities, 1e-12))
    return scores, scores.argmax(1)


def _drawn(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A class for each row, drawn from its probabilities (Gumbel's trick)."""
    return (scores + rng.gumbel(size=scores.shape)).argmax(1)


def _fingerprints(n: int, rng: np.random.Generator) -> Fingerprints:
    """Fingerprints of images that have nothing in common."""
    frequency, gradient, *mirrored = rng.integers(0, 2**63, (4, n), dtype=np.int64).astype(np.uint64)
    return Fingerprints(
        frequency=frequency,
        gradient=gradient,
        mirrored_frequency=mirrored[0],
        mirrored_gradient=mirrored[1],
        thumbnails=rng.integers(0, 256, (n, 16, 16), dtype=np.uint8),
        chroma=rng.integers(-20, 20, (n, 2, 4, 4), dtype=np.int8),
        flat=np.zeros(n, dtype=bool),
    )


def _corrupted(
    world: World, images: PerImage, kinds: Sequence[str], severities: Sequence[float], rng: np.random.Generator
) -> Evidence:
    """Decisions under corruptions: a twentieth is decided anew, as well as before; the first kind may lose accuracy.

    What is lost at one severity is lost at the others too, and with the other images of its unit.
    """
    parts, n = [], len(images)
    accuracy = float(images.correct.mean())
    wrong = (images.labels + 1) % world.classes
    units = np.arange(n) // world.unit_size
    for kind in kinds:
        lost = world.size if world.fault == "corruption" and kind == kinds[0] else 0.0
        anew, again, frail = (rng.random(units.max() + 1)[units] for _ in range(3))
        right = np.where(anew < 0.05, again < accuracy, images.correct) & (frail >= lost / max(accuracy, 1e-9))
        decided = np.where(right, images.labels, np.where(images.correct, wrong, images.predictions))
        decided = np.where(~right & (decided == images.labels), wrong, decided).tolist()
        for severity in severities:
            parts.append(
                Evidence.of(
                    images.ids,
                    setting=setting_name(kind, severity),
                    model="simulated",
                    unit_ids=images.unit_ids,
                    label=images.labels.tolist(),
                    prediction=decided,
                    value=[0.9] * n,
                )
            )
    return Evidence.merge(parts)
