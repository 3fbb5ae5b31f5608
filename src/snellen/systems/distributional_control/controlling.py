"""From what is wanted to a fitted control: classes, shares of classes, a text, or several of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.references import load_two_tower
from snellen.systems.distributional_control.control import Control, open_generator
from snellen.systems.distributional_control.divergence import divergence
from snellen.systems.distributional_control.energies import (
    VIEWS,
    ClassEnergy,
    MomentEnergy,
    TextEnergy,
    Weighted,
    check_classifier,
    class_probabilities,
)
from snellen.systems.distributional_control.fitting import PRESETS, ControlFit, check_terms, fit_control
from snellen.systems.distributional_control.moment_constraint import Moments, fit_moments

#: Published weights: of one class, of each of several, of a text (StyleGAN2), and of moments.
PUBLISHED_WEIGHTS = {"class": 300.0, "classes": 100.0, "text": 600.0, "shares": 1.0}

#: Weights for small generators: those published leave few modes of them.
SMALL_WEIGHTS = {"class": 5.0, "classes": 5.0, "text": 100.0, "shares": 1.0}

Preset = Literal["small", "published"]

#: Most images of a controlled distribution whose shares are measured, and images that β is fitted to.
JUDGED, SAMPLES = 1024, 4096


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a control should do, by loaded models.

    Attributes:
        classifier: of classes and shares.
        classes: w_j of each wanted class; empty for none.
        shares: of all classes, in their order; empty for none.
        text: that images should show.
        tower: that reads text and images.
        weight: λ of the classifier; None: that of the preset.
        text_weight: λ of the text; None: that of the preset.
        views: of each image, for the text.
    """

    classifier: Classifier | None = None
    classes: Mapping[str, float] | None = None
    shares: Sequence[float] = ()
    text: str | None = None
    tower: TwoTower | None = None
    weight: float | None = None
    text_weight: float | None = None
    views: int = VIEWS

    def __post_init__(self) -> None:
        if not (self.classes or self.shares or self.text):
            raise InputError("say what is wanted: classes, shares of classes, or a text")
        if self.classes and self.shares:
            raise InputError("classes and shares of one classifier are both what it wants; give one, then the other")
        if (self.classes or self.shares) and self.classifier is None:
            raise InputError("classes and shares need a classifier that recognises them")
        if self.text and self.tower is None:
            raise InputError("a text needs a text–image model that compares it with images")


def moments_of(
    generator: LatentGenerator, classifier: Classifier, count: int, rng: Randomness, truncation: float
) -> Tensor:
    """γ of images of a generator, without gradients: (n, k) float64, made once and kept.

    Args:
        generator: a composed one where a control lies in front already.
        classifier: gives γ.
        count: n.
        rng: of the latents.
        truncation: that the control will be trained with.
    """
    noise = torch.randn(count, generator.dimension, generator=rng.generator("moments"))
    found = []
    with torch.no_grad():
        for images in generator.batches(noise, truncation):
            found.append(class_probabilities(classifier, images).cpu())
    return torch.cat(found)


def control(
    generator: LatentGenerator | str,
    *,
    classifier: Classifier | str | None = None,
    classes: Mapping[str, float] | Sequence[str] = (),
    shares: Mapping[str, float] | Literal["uniform"] | None = None,
    text: str | None = None,
    tower: TwoTower | str = "bundled:scene-clip",
    weight: float | None = None,
    text_weight: float | None = None,
    views: int = VIEWS,
    preset: Preset = "small",
    fit: ControlFit | None = None,
    truncation: float = 1.0,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Control:
    """Fit a control: the generator will draw these classes, shares of classes, or what a text says.

    Args:
        generator: by reference (:func:`~snellen.systems.distributional_control.control.open_generator`), or loaded.
        classifier: by reference, or loaded; it must give gradients.
        classes: that are wanted, of one classifier; a mapping gives each a weight w_j.
        shares: wanted share of each class, or ``uniform``.
        text: what images should show.
        tower: text–image model for the text, by reference or loaded.
        weight: λ of the classifier's energy; None: published 300 (one class), 100 (each of several), 1 (shares; 2
            corrects more), or 5, 5 and 1 of the preset ``small``.
        text_weight: λ of the text's energy; None: published 600, or 100.
        views: of each image, for the text.
        preset: whose numbers are used.
        fit: numbers of the fit, in place of the preset's.
        truncation: of the generator, when images are sampled.
        samples: images that β of the shares is fitted to; shares are measured on at most 1,024 of as many.
        seed: of everything random.
        progress: callback that receives progress updates.

    Raises:
        InputError: nothing that is wanted, a class that the classifier does not have, shares that the generator cannot
            reach, or a generator without gradients.
        UnsupportedError: a classifier without gradients or probabilities.
    """
    found = open_generator(generator) if isinstance(generator, str) else generator
    judge = load_classifier(classifier) if isinstance(classifier, str) else classifier
    named = dict.fromkeys(classes, 1.0) if not isinstance(classes, Mapping) else dict(classes)
    towers = None if text is None else load_two_tower(tower) if isinstance(tower, str) else tower
    ordered = () if shares is None else ordered_shares(shares, judge)
    wanted = Wanted(judge, named, ordered, text, towers, weight, text_weight, views)
    return fit_wanted(
        found,
        wanted,
        preset=preset,
        fit=fit,
        truncation=truncation,
        samples=samples,
        rng=Randomness(seed).child("distributional control"),
        progress=progress,
    )


def ordered_shares(
    shares: Mapping[str, float] | Literal["uniform"], classifier: Classifier | None
) -> tuple[float, ...]:
    """Shares in the order of a classifier's classes; those that are not named are 0.

    Raises:
        InputError: no classifier, several attributes in place of one class of several, or an unknown class.
    """
    if classifier is None:
        raise InputError("shares need a classifier that recognises the classes")
    if classifier.task == "multilabel":
        raise InputError(f"shares are of one class among several, and {classifier.name} gives attributes")
    names = classifier.class_names
    if shares == "uniform":
        return (1 / len(names),) * len(names)
    if not isinstance(shares, Mapping):
        raise InputError(f"shares are 'uniform', or a share for each class; got {shares!r}")
    unknown = next((name for name in shares if name not in names), None)
    if unknown is not None:
        raise InputError(f"{classifier.name} has no class {unknown!r}; it has {', '.join(names)}")
    return tuple(float(shares.get(name, 0.0)) for name in names)


def fit_wanted(
    generator: LatentGenerator,
    wanted: Wanted,
    *,
    preset: Preset = "small",
    fit: ControlFit | None = None,
    truncation: float = 1.0,
    samples: int = SAMPLES,
    rng: Randomness,
    progress: Progress | None = None,
) -> Control:
    """The same for loaded models; errors as those of :func:`control`."""
    numbers = PRESETS[preset] if fit is None else fit
    weights = SMALL_WEIGHTS if preset == "small" else PUBLISHED_WEIGHTS
    terms, target, figures = list[Weighted](), dict[str, Any](), dict[str, float]()
    classifier = wanted.classifier
    if classifier is not None and wanted.shares:
        check_classifier(classifier)
        gamma = moments_of(generator, classifier, samples, rng, numbers.truncation)
        moments = fit_moments(gamma, torch.tensor(wanted.shares), names=classifier.class_names)
        own = weights["shares"] if wanted.weight is None else wanted.weight
        terms.append(Weighted(MomentEnergy(classifier, moments.beta), own))
        target |= {"shares": dict(zip(classifier.class_names, wanted.shares, strict=True)), "weight": own}
        target |= {"beta": list(moments.beta), "samples": samples}
        figures |= _of_moments(moments)
    elif classifier is not None and wanted.classes:
        own = weights["class" if len(wanted.classes) == 1 else "classes"] if wanted.weight is None else wanted.weight
        terms.append(Weighted(ClassEnergy(classifier, wanted.classes), own))
        target |= {"classes": dict(wanted.classes), "weight": own}
    if classifier is not None and (wanted.shares or wanted.classes):
        target["guide"] = classifier.identity or classifier.name
        target |= {"guide_name": classifier.name, "guide_classes": list(classifier.class_names)}
    if wanted.text and wanted.tower is not None:
        target |= {"text_guide": wanted.tower.identity(), "text_guide_name": wanted.tower.name}
        own = weights["text"] if wanted.text_weight is None else wanted.text_weight
        terms.append(Weighted(TextEnergy(wanted.tower, wanted.text, views=wanted.views), own))
        target |= {"text": wanted.text, "text_weight": own, "views": wanted.views}
    check_terms(terms)
    fitted = fit_control(generator, terms, fit=numbers, rng=rng, sampling=truncation, progress=progress)
    made = Control(generator, fitted.network, truncation)
    warnings = [] if fitted.variety.warning is None else [fitted.variety.warning]
    kept = next(row for row in fitted.history if row["step"] == fitted.kept) if fitted.kept else {}
    figures |= {"nearest": fitted.variety.nearest, "entropy": fitted.variety.entropy, **kept}
    if classifier is not None and classifier.task != "multilabel":
        noise = torch.randn(min(JUDGED, samples), generator.dimension, generator=rng.generator("judged"))
        figures |= shares_of(classifier, generator.images(noise, truncation), "before")
        figures |= shares_of(classifier, made.images_of(noise), "after")
        if wanted.shares:
            for when in ("before", "after"):
                counts = [figures[f"{when}.{name}"] for name in classifier.class_names]
                figures[f"{when}.divergence"] = divergence(counts, wanted.shares)
    return Control(
        generator,
        fitted.network,
        truncation,
        target=target,
        figures={name: value for name, value in figures.items() if value == value and abs(value) != float("inf")},
        warnings=tuple(warnings),
        fit=numbers.model_dump(mode="json"),
        seed=rng.seed,
    )


def shares_of(classifier: Classifier, images: Tensor, prefix: str) -> dict[str, float]:
    """Share of the images (n, 3, h, w) in which each class is the likeliest, by ``PREFIX.CLASS``."""
    with torch.no_grad():
        likeliest = torch.cat([class_probabilities(classifier, part).argmax(1).cpu() for part in images.split(128)])
    counts = torch.bincount(likeliest, minlength=len(classifier.class_names)).double() / len(images)
    return {f"{prefix}.{name}": share for name, share in zip(classifier.class_names, counts.tolist(), strict=True)}


def _of_moments(moments: Moments) -> dict[str, float]:
    return {"effective_sample_size": moments.effective, "moment_samples": float(moments.samples)}
