"""Run models on images under every strength of a transformation.

Corruptions, nuisances, edits and cameras share this shape: a transformation with one strength, a neutral point at which
it does nothing, a filter that says which transformed images still show what they should, and evidence per image,
setting and model. Everything a benchmark reports is a view of that evidence (:mod:`snellen.metrics.sweep.views`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.randomness import Randomness

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
        raise InputError(f"strengths of {name} are too close to be told apart by name: {sorted(chosen)}")
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
