"""What a benchmark reports, as views of a sweep's evidence: curves, drops, failure points, rankings.

Images that are invalid at a setting count at neither end of a paired figure there; the neutral point needs no filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.metrics.intervals import paired_difference, wilson
from snellen.metrics.sweep.measure import setting_name


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
