"""Classifiers on trajectories: the evidence of a sweep, with a rejected trajectory as invalid at every strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.metrics.sweep import Transformation, measure, setting_name
from snellen.systems.continuous_nuisance.strengths import checked_strengths


def measure_trajectories(
    models: Sequence[Classifier],
    images: Tensor,
    labels: Sequence[int] | Tensor,
    *,
    name: str,
    strengths: Sequence[float],
    ids: Sequence[str],
    reasons: Sequence[str | None] | None = None,
    unit_ids: Sequence[str | None] | None = None,
) -> Evidence:
    """Ask classifiers about every image of every trajectory.

    Args:
        models: names must differ; each prepares the images as it wants them.
        images: float32 (n, strengths, 3, h, w) in [0, 1].
        labels: class of each trajectory, n; −1 where unknown.
        name: of the shift, prefix of the settings.
        strengths: ascending from 0.
        ids: of the trajectories; they are the examples of the evidence.
        reasons: why a trajectory was rejected, else None; no model sees rejected ones.
        unit_ids: independent units of the trajectories: those of one seed under several shifts are one.

    Returns:
        A row for each trajectory, strength and model.

    Raises:
        InputError: numbers that do not agree, or models of one name.
    """
    grid = checked_strengths(strengths)
    why = [None] * len(images) if reasons is None else list(reasons)
    counts = [len(images), len(labels), len(ids), len(why)]
    if len(set(counts)) != 1 or images.ndim != 5 or images.shape[1] != len(grid):
        raise InputError(
            f"trajectories are images (n, strengths, 3, h, w) with n labels, ids and reasons; got "
            f"{tuple(images.shape)}, {len(grid)} strengths and {', '.join(map(str, counts[1:]))}"
        )
    if len({model.name for model in models}) != len(models):
        raise InputError(f"classifiers need different names, got {[model.name for model in models]}")
    units = list(ids) if unit_ids is None else [unit or key for unit, key in zip(unit_ids, ids, strict=True)]
    known = torch.as_tensor(labels)
    kept = [row for row, reason in enumerate(why) if reason is None]
    parts: list[Evidence] = []
    for model in models:
        if kept:
            prepared = {
                strength: torch.stack([model.prepare(to_image(images[row, at])) for row in kept]).to(model.device)
                for at, strength in enumerate(grid)
            }
            parts.append(
                measure(
                    [model],
                    prepared[0.0],
                    known[kept],
                    name=name,
                    transformation=_prepared_images(prepared),
                    strengths=grid,
                    ids=[ids[row] for row in kept],
                    rng=Randomness(0),
                    unit_ids=[units[row] for row in kept],
                )
            )
        parts += [_rejected(model, name, strength, ids, units, known, why) for strength in grid]
    return Evidence.merge(parts)


def _prepared_images(prepared: Mapping[float, Tensor]) -> Transformation:
    """The images of each strength, which are there already."""

    def transformation(images: Tensor, strength: float, rng: Randomness) -> Tensor:
        return prepared[strength]

    return transformation


def _rejected(
    model: Classifier,
    name: str,
    strength: float,
    ids: Sequence[str],
    units: Sequence[str],
    labels: Tensor,
    reasons: Sequence[str | None],
) -> Evidence:
    rows = [row for row, reason in enumerate(reasons) if reason is not None]
    return Evidence.of(
        [ids[row] for row in rows],
        setting=setting_name(name, strength),
        model=model.name,
        unit_ids=[units[row] for row in rows],
        label=[None if labels[row] < 0 else int(labels[row]) for row in rows],
        status="invalid",
        reason=[reasons[row] for row in rows],
    )
