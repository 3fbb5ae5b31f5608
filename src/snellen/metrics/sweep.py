"""Run models on images under every strength of a transformation, and what a benchmark reports of that evidence.

Corruptions, nuisances, edits and cameras share this shape: a transformation with one strength, a neutral point at which
it does nothing, a filter that says which transformed images still show what they should, and evidence per image,
setting and model. Everything a benchmark reports is a view of that evidence.

Images that are invalid at a setting count at neither end of a paired figure there; the neutral point needs no filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.randomness import Randomness
from snellen.metrics.intervals import paired_difference, wilson

__all__ = [
    "Transformation",
    "Validity",
    "curve",
    "drops",
    "failure_points",
    "first_failures",
    "measure",
    "ranking",
    "setting_name",
]

#: images (n, 3, h, w), strength, randomness bound to the images → images (n, 3, h, w). ``Shift.shift`` is one.
Transformation = Callable[[Tensor, float, Randomness], Tensor]

#: clean images, transformed images → for each image None when it is valid, else the reason why not.
Validity = Callable[[Tensor, Tensor], Sequence[str | None]]


def setting_name(name: str, strength: float) -> str:
    """Name of one setting in the evidence.

    >>> setting_name("gaussian_noise", 3.0)
    'gaussian_noise.3'
    """
    return f"{name}.{strength:g}"


def measure(
    models: Sequence[Classifier],
    images: Tensor,
    labels: Tensor,
    *,
    name: str,
    transformation: Transformation,
    strengths: Sequence[float],
    ids: Sequence[str],
    rng: Randomness,
    neutral: float = 0.0,
    unit_ids: Sequence[str | None] | None = None,
    validity: Validity | None = None,
    neutral_scores: Mapping[str, Tensor] | None = None,
) -> Evidence:
    """Measure models at the neutral point and at every strength.

    Args:
        models: classifiers that take the same prepared images; names must differ.
        images: prepared images (n, 3, h, w) in [0, 1].
        labels: (n,), −1 where unknown.
        name: prefix of the settings.
        transformation: what is done to the images.
        strengths: which strengths; the neutral one is always measured, once.
        ids: example ids; they also seed the randomness, so any batch gives the same images.
        rng: randomness of the transformation.
        neutral: strength at which the transformation does nothing.
        unit_ids: independent units of the examples.
        validity: filter on transformed images; invalid ones are recorded with the reason and not sent to any model.
        neutral_scores: scores (n, k) by model name, when they are known already.

    Returns:
        One row per image, setting and model: the confidence (largest probability) as value. Rows whose scores are not
        finite have the status ``failed``.
    """
    if len({model.name for model in models}) != len(models):
        raise InputError(f"models of a sweep need different names, got {[model.name for model in models]}")
    chosen = list(dict.fromkeys([float(neutral), *map(float, strengths)]))
    if len({setting_name(name, strength) for strength in chosen}) != len(chosen):
        raise InputError(f"strengths of {name} are too close to be distinguished by name: {sorted(chosen)}")
    bound = rng.for_examples(ids).remembering()  # the same draws serve every strength
    parts = []
    for strength in chosen:
        shifted = images if strength == neutral else transformation(images, strength, bound)
        if shifted.shape != images.shape:
            raise InputError(f"{name} turned images {tuple(images.shape)} into {tuple(shifted.shape)}")
        reasons = [None] * len(images) if validity is None or strength == neutral else validity(images, shifted)
        valid = torch.tensor([reason is None for reason in reasons], device=images.device)
        for model in models:
            known = neutral_scores.get(model.name) if neutral_scores and strength == neutral else None
            parts.append(
                _rows(model, shifted, labels, setting_name(name, strength), ids, unit_ids, valid, reasons, known)
            )
    return Evidence.merge(parts)


def _rows(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    setting: str,
    ids: Sequence[str],
    unit_ids: Sequence[str | None] | None,
    valid: Tensor,
    reasons: Sequence[str | None],
    known: Tensor | None,
) -> Evidence:
    """Evidence of one model at one setting."""
    predictions: list[int | None] = [None] * len(ids)
    confidences: list[float | None] = [None] * len(ids)
    status = ["ok" if reason is None else "invalid" for reason in reasons]
    why = list(reasons)
    with model.counting() as spent, torch.no_grad():
        if bool(valid.any()):
            scores = known[valid] if known is not None else model(images[valid])
            finite = torch.isfinite(scores).flatten(1).all(1).tolist()
            confidence = model.probabilities(scores).amax(1).tolist() if model.output != "labels" else None
            predicted = model.predict(scores).tolist()
            for row, position in enumerate(valid.nonzero().flatten().tolist()):
                if finite[row]:
                    predictions[position] = predicted[row]
                    confidences[position] = None if confidence is None else confidence[row]
                else:
                    status[position], why[position] = "failed", "the model's scores are not finite"
        used = spent()
    return Evidence.of(
        ids,
        setting=setting,
        model=model.name,
        unit_ids=unit_ids,
        label=[None if label < 0 else label for label in labels.tolist()],
        prediction=predictions,
        value=confidences,
        status=status,
        reason=why,
        spent=used,
        control="the same images at the neutral point",
    )


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy at one strength, with its 95 % Wilson interval, over valid images with labels."""

    strength: float
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Drop:
    """Accuracy lost between the neutral point and one strength, on the same images, with its paired 95 % interval."""

    strength: float
    n: int
    value: float
    low: float
    high: float


def strengths(evidence: Evidence, name: str) -> list[float]:
    """Strengths that were measured, ascending."""
    prefix = f"{name}."
    return sorted(float(setting[len(prefix) :]) for setting in evidence.settings if setting.startswith(prefix))


def curve(evidence: Evidence, name: str, model: str) -> list[CurvePoint]:
    """Accuracy over strength."""
    points = []
    for strength in strengths(evidence, name):
        right = evidence.correct(setting_name(name, strength), model)
        if right:
            low, high = wilson(sum(right.values()), len(right))
            points.append(CurvePoint(strength, len(right), sum(right.values()) / len(right), low, high))
    return points


def drops(evidence: Evidence, name: str, model: str, *, neutral: float = 0.0, confidence: float = 0.95) -> list[Drop]:
    """Accuracy lost at every strength but the neutral one, paired over the images that are valid there."""
    before = evidence.correct(setting_name(name, neutral), model)
    found = []
    for strength in strengths(evidence, name):
        if strength == neutral:
            continue
        after = evidence.correct(setting_name(name, strength), model)
        both = [key for key in after if key in before]
        if not both:
            continue
        lost = sum(before[key] and not after[key] for key in both)
        gained = sum(after[key] and not before[key] for key in both)
        low, high = paired_difference(lost, gained, len(both), confidence)
        found.append(Drop(strength, len(both), (lost - gained) / len(both), low, high))
    return found


def failure_points(evidence: Evidence, name: str, model: str, *, neutral: float = 0.0) -> dict[str, float | None]:
    """For each image that is right at the neutral point: the smallest strength beyond it at which it is wrong.

    None when it stays right throughout. Strengths at which the image is invalid are passed over.
    """
    right_at_first = [key for key, right in evidence.correct(setting_name(name, neutral), model).items() if right]
    points: dict[str, float | None] = dict.fromkeys(right_at_first)
    for strength in sorted(strengths(evidence, name), key=lambda s: abs(s - neutral)):
        for key, right in evidence.correct(setting_name(name, strength), model).items():
            if key in points and points[key] is None and not right:
                points[key] = strength
    return points


def first_failures(evidence: Evidence, name: str, model: str, *, never: float) -> dict[str, float]:
    """For each image that was measured at every strength: the smallest strength at which it is wrong.

    Unlike :func:`failure_points`, an image that is wrong at the neutral point fails there, and one that is never wrong
    gets a number, so that means can be taken (CNS-Bench: grid of 0 to 2.5, never 3). Whether it is right again at a
    larger strength does not matter. Images that were not measured at some strength count nowhere.

    Args:
        evidence: of a sweep.
        name: of the transformation.
        model: whose answers.
        never: what stands for "at no strength"; above all strengths.

    Raises:
        InputError: ``never`` is not above all strengths.
    """
    grid = strengths(evidence, name)
    if grid and not never > grid[-1]:
        raise InputError(f"what stands for no failure lies above the largest strength {grid[-1]:g}; got {never:g}")
    right = {strength: evidence.correct(setting_name(name, strength), model) for strength in grid}
    everywhere = [key for key in right[grid[0]] if all(key in found for found in right.values())] if grid else []
    return {key: next((strength for strength in grid if not right[strength][key]), never) for key in everywhere}


def ranking(evidence: Evidence, names: Sequence[str], model: str, *, neutral: float = 0.0) -> list[tuple[str, float]]:
    """Transformations by their mean drop over the strengths, worst first."""
    means = []
    for name in names:
        found = drops(evidence, name, model, neutral=neutral)
        if found:
            means.append((name, sum(drop.value for drop in found) / len(found)))
    return sorted(means, key=lambda pair: (-pair[1], pair[0]))
