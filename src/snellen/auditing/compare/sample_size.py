"""The verb ``snellen.sample_size``: how many images a question takes, and which questions a set of images answers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist

from snellen.auditing.compare.margins import parse_points
from snellen.auditing.compare.pairing import Pair, pair_runs
from snellen.auditing.compare.requirement import ACUITY, FINDINGS, Requirement, parse_requirement
from snellen.auditing.compare.run_record import RunRecord, record_of
from snellen.auditing.compare.sample_plan import Goal, SamplePlan, Sight
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError
from snellen.metrics.sample_size import (
    Z,
    check_disagreement,
    gate_power,
    images_for_gate,
    images_for_power,
    images_for_width,
    independent_disagreement,
    interval_width,
    paired_margin_power,
    paired_power,
    smallest_effect,
    unpaired_margin_power,
    unpaired_power,
)
from snellen.metrics.unit_design import INDEPENDENT, UnitDesign, estimated_design

#: The figure that is planned when nothing else is named.
ACCURACY = "clean.accuracy"

#: Share of cases in which a plan keeps its promise, unless another is named.
POWER = 0.9


@dataclass(frozen=True)
class _Models:
    """What is supposed of one model, or of two that are compared."""

    accuracy: float
    design: UnitDesign
    disagreement: float | None
    of_differences: UnitDesign

    def disagreeing(self, difference: float) -> float:
        """Share of images on which just one of two models is right that differ by so much."""
        if self.disagreement is not None:
            return max(self.disagreement, abs(difference))
        return independent_disagreement(self.accuracy, max(self.accuracy - abs(difference), 0.0))


def sample_size(
    run: Path | str | AuditReport | None = None,
    *,
    images: int | None = None,
    accuracy: float | None = None,
    width: float | str | None = None,
    require: str | Sequence[str] = (),
    difference: float | str | None = None,
    not_worse_than: float | str | None = None,
    baseline: Path | str | AuditReport | None = None,
    disagreement: float | None = None,
    unit_size: float | None = None,
    icc: float | None = None,
    power: float = POWER,
) -> SamplePlan:
    """How many images, and units such as patients, an audit needs; or what a set of images can show.

    >>> plan = sample_size(accuracy=0.92, width="4pt", require="clean.accuracy>=0.9")
    >>> [goal.images for goal in plan.goals]
    [709, 2239]

    Args:
        run: a finished audit: its accuracy, units and images are taken for the plan.
        images: number of images at hand, where there is no run or another number counts.
        accuracy: the true accuracy that is supposed. None: that of the run.
        width: of the whole 95 % interval of the accuracy, such as ``"4pt"`` or 0.04.
        require: gates as ``snellen audit --require`` takes them, on ``clean.accuracy``; with a run on every figure that
            has an interval in it, supposing that its value is the truth.
        difference: of two models that is to be found, such as ``"1pt"``: on the same images, and on different ones.
        not_worse_than: margin within which a model that is as good as the baseline is shown to be no worse.
        baseline: finished audit of an earlier model on the images of the run: how often the two disagree is counted.
        disagreement: share of the images on which just one of the two models is right. None: counted, or else that of
            models which err independently, which is more than two versions of one model have.
        unit_size: images of a unit, on average. None: those of the run, or 1.
        icc: correlation of right decisions within a unit. None: that of the run.
        power: share of cases in which a gate passes or a difference is found, in (0, 1).

    Returns:
        The plan.

    Raises:
        InputError: nothing to plan, or assumptions that are missing or contradict each other.
    """
    record = None if run is None else record_of(run, "run")
    earlier = None if baseline is None else record_of(baseline, "baseline")
    if not 0 < power < 1:
        raise InputError(f"the power lies strictly between 0 and 1, got {power:g}")
    if images is not None and images < 2:
        raise InputError(f"a set has two images or more, got {images}")
    if accuracy is not None and not 0 < accuracy < 1:
        raise InputError(f"the accuracy that is supposed lies strictly between 0 and 1, got {accuracy:g}")
    if disagreement is not None and not 0 < disagreement <= 1:
        raise InputError(f"the disagreement is a share of the images above 0, got {disagreement:g}")
    if earlier is not None and record is None:
        raise InputError("a baseline is compared with a run: name the run too")
    notes: list[str] = []
    models, counted = _supposed(record, earlier, accuracy, disagreement, (unit_size, icc), notes)
    if disagreement is not None and difference is not None:
        check_disagreement(parse_points(difference, "difference"), disagreement)
    at_hand = images or counted
    wanted = [require] if isinstance(require, str) else list(require)
    goals = [_width(parse_points(width, "width"), models, at_hand)] if width is not None else []
    goals += [_gate(parse_requirement(text), models, at_hand, power, record) for text in wanted]
    if difference is not None:
        goals += _difference(parse_points(difference, "difference"), models, at_hand, power)
    if not_worse_than is not None:
        goals += _margin(parse_points(not_worse_than, "margin"), models, at_hand, power)
    if not goals and at_hand is None:
        raise InputError(
            "nothing to plan: name what you want to know (width, require, difference, not_worse_than; in a shell "
            "--width, --require, --difference, --not-worse-than), or a run or a number of images to see what they show"
        )
    if difference is not None or not_worse_than is not None or at_hand is not None:
        notes.append(_about_disagreement(models, earlier))
    return SamplePlan(
        accuracy=models.accuracy,
        unit_size=models.design.size,
        correlation=models.design.correlation,
        design_effect=models.design.effect,
        disagreement=models.disagreement,
        power=power,
        images=at_hand,
        units=None if at_hand is None else models.design.units(at_hand),
        goals=tuple(goals),
        shows=() if at_hand is None else _shown(models, at_hand, power),
        notes=tuple(notes),
    )


def _supposed(
    record: RunRecord | None,
    earlier: RunRecord | None,
    accuracy: float | None,
    disagreement: float | None,
    units: tuple[float | None, float | None],
    notes: list[str],
) -> tuple[_Models, int | None]:
    """What is supposed, from the run where nothing else is given, and how many labelled images it has."""
    design, known, count, differences = INDEPENDENT, accuracy, None, None
    if record is not None:
        if record.report.model["task"] not in ("single", "ordinal"):
            raise InputError(
                f"a plan is about models that decide one class for each image; the task of this run is "
                f"{record.report.model['task']!r}"
            )
        seen = record.images.select(record.images.labelled)
        if not len(seen):
            raise InputError("the run judged no labelled image: there is no accuracy to plan from")
        count, right = len(seen), seen.correct.astype(float)
        design = estimated_design(right, seen.units)
        # A share of 0 or 1 has no spread: one image more of either answer.
        share = float(right.mean())
        known = accuracy if accuracy is not None else share if 0 < share < 1 else (right.sum() + 1) / (count + 2)
    if known is None:
        raise InputError("no accuracy to plan from: name the one that you expect, such as 0.9, or a finished run")
    size, icc = units
    if icc is not None and (size or design.size) == 1:
        raise InputError(
            "a correlation within units needs units of more than one image: name their size (unit_size, --unit-size)"
        )
    if size is not None and size > 1 and icc is None and design.size == 1:
        raise InputError(
            f"units of {size:g} images need their correlation too (icc, --icc; 0.3 is usual for images of one "
            f"patient), or a finished run with units to take it from"
        )
    given = UnitDesign(design.size if size is None else size, design.correlation if icc is None else icc)
    counted = disagreement
    if record is not None and earlier is not None:
        pair = pair_runs(earlier, record)
        if not pair.paired:
            raise InputError("the baseline has other images than the run: how often the two disagree is not known")
        counted, differences = _counted(pair)
        counted = disagreement if disagreement is not None else counted
    if differences is None or size is not None or icc is not None:
        differences = given
    notes.append(
        f"accuracy {known:.4f}{' of the run' if accuracy is None else ''}; "
        + (
            "images independent of each other"
            if given.size == 1
            else f"units of {given.size:.3g} images with a correlation of {given.correlation:.3f} within a unit, a "
            f"design effect of {given.effect:.2f}"
        )
    )
    return _Models(float(known), given, counted, differences), count


def _counted(pair: Pair) -> tuple[float, UnitDesign]:
    before, after = (side.images.correct.astype(float) for side in (pair.first, pair.second))
    changed = after - before
    # One image more, so that models which agree on all images are not planned for without any doubt.
    share = (abs(changed).sum() + 1) / (len(changed) + 2)
    return float(share), estimated_design(changed, pair.units)


def _about_disagreement(models: _Models, earlier: RunRecord | None) -> str:
    if models.disagreement is None:
        return (
            "two models err independently of each other; two versions of one model disagree less and need fewer "
            "images on the same set. Name a baseline run or the disagreement"
        )
    whence = "counted on both runs" if earlier is not None else "as given"
    return f"just one of the two models is right on {models.disagreement:.1%} of the images, {whence}"


def _goal(
    question: str, images: int, design: UnitDesign, at_hand: int | None, value: Callable[[int], float], aim: float
) -> Goal:
    if at_hand is None:
        return Goal(question=question, images=images, units=design.units(images))
    given = value(at_hand)
    return Goal(question=question, images=images, units=design.units(images), at_hand=given, enough=at_hand >= images)


def _width(width: float, models: _Models, at_hand: int | None) -> Goal:
    images = images_for_width(width, models.accuracy, models.design)
    of_images = partial(interval_width, accuracy=models.accuracy, design=models.design)
    return _goal(f"interval of the accuracy of width {width:g}", images, models.design, at_hand, of_images, width)


def _gate(wanted: Requirement, models: _Models, at_hand: int | None, power: float, record: RunRecord | None) -> Goal:
    question = f"gate {wanted} passes in {power:.0%} of audits"
    group = wanted.name.partition(".")[0]
    if wanted.estimate or group in (FINDINGS, ACUITY):
        raise InputError(
            f"requirement {str(wanted)!r}: only gates on the interval of a figure can be planned, such as "
            f"{ACCURACY}>=0.9"
        )
    if wanted.name == ACCURACY:
        upper = not wanted.wants_more
        found = images_for_gate(models.accuracy, wanted.bound, power, models.design, upper=upper)
        of_images = partial(gate_power, accuracy=models.accuracy, bound=wanted.bound, design=models.design, upper=upper)
        return _goal(question, found, models.design, at_hand, of_images, power)
    if record is None:
        raise InputError(
            f"requirement {str(wanted)!r}: without a run only {ACCURACY} can be planned; name a finished run that "
            f"measured {wanted.name}"
        )
    figure = record.report.metrics.get(wanted.name)
    if figure is None:
        near = difflib.get_close_matches(wanted.name, sorted(record.report.metrics), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise InputError(f"requirement {str(wanted)!r}: the run has no figure of this name{hint}")
    if not wanted.holds(figure.value):
        raise InputError(
            f"requirement {str(wanted)!r}: the run has {figure.value:.4f}, which does not meet it: no number of images "
            f"makes such a model pass"
        )
    error = (figure.value - figure.low if wanted.wants_more else figure.high - figure.value) / Z
    if not error > 0:
        raise InputError(
            f"requirement {str(wanted)!r}: the interval of the run ends at the value itself, {figure.value:.4f}, so "
            f"that nothing can be planned from it"
        )
    room, measured = abs(figure.value - wanted.bound), int(record.images.labelled.sum())

    def passing(images: int) -> float:
        return NormalDist().cdf(room / (error * math.sqrt(measured / images)) - Z)

    found = images_for_power(passing, power, question)
    return _goal(question, found, models.design, at_hand, passing, power)


def _difference(size: float, models: _Models, at_hand: int | None, power: float) -> list[Goal]:
    if size > models.accuracy:
        raise InputError(f"a model of accuracy {models.accuracy:g} cannot lose {size:g}; name a smaller difference")
    paired = partial(paired_power, difference=size, disagreement=models.disagreeing(size), design=models.of_differences)
    apart = partial(unpaired_power, accuracy=models.accuracy, difference=size, design=models.design)
    return _two(f"difference of {size:g} found in {power:.0%} of comparisons", paired, apart, models, at_hand, power)


def _margin(margin: float, models: _Models, at_hand: int | None, power: float) -> list[Goal]:
    paired = partial(
        paired_margin_power, margin=margin, disagreement=models.disagreeing(0.0), design=models.of_differences
    )
    apart = partial(unpaired_margin_power, margin=margin, accuracy=models.accuracy, design=models.design)
    question = f"an equally good model shown to be less than {margin:g} worse in {power:.0%} of comparisons"
    return _two(question, paired, apart, models, at_hand, power)


def _two(
    question: str,
    paired: Callable[[int], float],
    apart: Callable[[int], float],
    models: _Models,
    at_hand: int | None,
    power: float,
) -> list[Goal]:
    ways = (
        ("on the same images", paired, models.of_differences),
        ("on different images, in each set", apart, models.design),
    )
    return [
        _goal(f"{question}, {way}", images_for_power(of, power, question), design, at_hand, of, power)
        for way, of, design in ways
    ]


def _shown(models: _Models, images: int, power: float) -> tuple[Sight, ...]:
    """What a number of images shows: the width, and the smallest differences and margins."""
    of, apart = models.of_differences, models.design
    most = min(models.accuracy, 0.99)

    def paired(size: float) -> float:
        return 0.0 if size <= 0 else paired_power(images, size, models.disagreeing(size), of)

    def unpaired(size: float) -> float:
        return unpaired_power(images, models.accuracy, size, apart)

    def margin(size: float) -> float:
        return 0.0 if size <= 0 else paired_margin_power(images, size, models.disagreeing(0.0), design=of)

    def margin_apart(size: float) -> float:
        return 0.0 if size <= 0 else unpaired_margin_power(images, size, models.accuracy, design=apart)

    found = (
        ("width of the interval of the accuracy", interval_width(images, models.accuracy, apart)),
        ("smallest difference found, on the same images", smallest_effect(paired, power, most)),
        ("smallest difference found, on as many different images", smallest_effect(unpaired, power, most)),
        ("smallest margin shown for an equally good model, on the same images", smallest_effect(margin, power, 0.99)),
        ("the same on as many different images", smallest_effect(margin_apart, power, 0.99)),
    )
    return tuple(Sight(what=what, value=value) for what, value in found)
