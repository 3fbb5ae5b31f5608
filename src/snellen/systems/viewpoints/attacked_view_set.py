"""The record of an attack on the camera: what ``attack.json`` holds where the data are views of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from snellen.core.evidence import Evidence
from snellen.methods.attacks.goal import RECORD
from snellen.metrics.clustered import clustered_share
from snellen.metrics.units import unit_codes
from snellen.runs.record import Figure, RejectedImage, RunResult, Summary, Table, figure_row

#: Settings of the evidence beside those of attacks: the set's own viewpoints, and random ones.
NATURAL, RANDOM = "natural", "random"


#: Objects that a terminal lists, those that lose most first; all are in the record and on the page.
_LISTED = 12


class AttackedObject(BaseModel):
    """What an attack found for one object.

    Attributes:
        object_id: id of the object.
        class_name: what it shows.
        status: ``found`` (at least half of the fresh views succeed), ``not found``, ``blank`` or ``not finite``.
        natural, random, attacked: share of right decisions on the set's own views, on random ones, on fresh ones of the
            found distribution; None where no view counts.
        success_rate: share of the fresh views that meet the criterion.
        taken_for: the class that most wrong fresh views are taken for.
        entropy: of the found distribution of viewpoints, nats.
        renders, blanks: views that were rendered, and how many of them did not show the object.
        means, deviations: of the components over unbounded numbers, (k, 6).
        weights: of the components, (k,); (k, 6) where every coordinate has a mixture of its own.
        credit: maker, collection and licence, where the set states them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object_id: str
    class_name: str
    status: str
    natural: float | None
    random: float | None
    attacked: float | None
    success_rate: float | None
    taken_for: str | None
    entropy: float | None
    renders: int
    blanks: int
    means: list[list[float]]
    deviations: list[list[float]]
    weights: list[float] | list[list[float]]
    credit: str = ""


class ViewAttackFigures(BaseModel):
    """What one attack on the camera found.

    Attributes:
        method: the method and its parameters.
        accuracy_under_attack: share of the fresh views of the found distributions that are right; objects are drawn.
        success_rate: share of these views that meet the criterion.
        objects: what was found for each.
        statuses: how many objects ended how.
        renders, blanks: views that were rendered, and how many of them did not show the object.
        verdict: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dict[str, object]
    accuracy_under_attack: Figure
    success_rate: Figure
    objects: tuple[AttackedObject, ...]
    statuses: dict[str, int]
    renders: int
    blanks: int
    verdict: str


class AttackedViewSet(RunResult):
    """What attacks on the camera found on the objects of a set of views. Equal inputs give equal bytes.

    Attributes:
        plan: model, data, settings with their methods, goal, seed, machine, versions.
        natural_accuracy: of the set's own viewpoints, before the renderer's own background.
        random_accuracy: of viewpoints from anywhere, as many as each attack is judged by.
        settings: figures of each attack, by name.
        rejected: objects that could not be used.
        files: evidence, page, maps and sheets, relative to the folder.
    """

    file: ClassVar[str] = RECORD

    natural_accuracy: Figure
    random_accuracy: Figure
    settings: dict[str, ViewAttackFigures]
    rejected: tuple[RejectedImage, ...] = ()

    def summary(self) -> Summary:
        """Accuracies, verdicts, and the objects that lose most."""
        target = self.plan["goal"]["target"]
        wanted = "" if target is None else f", to be taken for {target}"
        figures = [
            figure_row("natural_accuracy", self.natural_accuracy),
            figure_row("random_accuracy", self.random_accuracy),
        ]
        verdicts, objects = [], []
        for name, found in self.settings.items():
            figures.append(figure_row(f"{name}.accuracy_under_attack", found.accuracy_under_attack))
            figures.append(figure_row(f"{name}.success_rate", found.success_rate))
            verdicts.append(f"{name}: {found.verdict}")
            ranked = sorted(
                found.objects, key=lambda one: ((one.attacked or 0.0) - (one.natural or 0.0), one.object_id)
            )
            for one in ranked[:_LISTED]:
                shares = ("–" if share is None else f"{share:.2f}" for share in (one.natural, one.random, one.attacked))
                objects.append((one.object_id, one.class_name, *shares, one.taken_for or "–"))
        heads = ("object", "class", "natural", "random", "under attack", "taken for")
        return Summary(
            f"{self.plan['model']['name']} on objects of {self.plan['data']['name']}{wanted}",
            (
                Table(("metric", "value", "95 % interval", "views"), tuple(figures), frozenset({1, 2, 3})),
                *verdicts,
                Table(heads, tuple(objects), frozenset({2, 3, 4})),
            ),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
        )


def share_of(evidence: Evidence, column: str = "right") -> Figure:
    """Share of the views that count in which a column is true, with an interval in which objects are drawn."""
    counted = evidence.where(status="ok").table
    values = np.array(counted[column].to_pylist(), dtype=bool)
    if not len(values):
        return Figure(value=None, low=None, high=None, n=0)
    low, high = clustered_share(values, unit_codes(counted["unit_id"].to_pylist()))
    return Figure(value=float(values.mean()), low=low, high=high, n=len(values))


def view_attack_figures(
    evidence: Evidence, method: dict[str, object], objects: Sequence[AttackedObject]
) -> ViewAttackFigures:
    """Figures of one attack, made of its rows and of what is known of each object."""
    return ViewAttackFigures(
        method=method,
        accuracy_under_attack=share_of(evidence),
        success_rate=share_of(evidence, "success"),
        objects=tuple(objects),
        statuses=dict(sorted(Counter(one.status for one in objects).items())),
        renders=sum(one.renders for one in objects),
        blanks=sum(one.blanks for one in objects),
        verdict=verdict(objects),
    )


def verdict(objects: Sequence[AttackedObject]) -> str:
    """What was found, in words that claim no more."""
    statuses = Counter(one.status for one in objects)
    found, told = statuses["found"], statuses["found"] + statuses["not found"]
    already = sum(one.status == "found" and one.natural == 0 for one in objects)
    what = "distributions of viewpoints of which at least half fool the classifier"
    said = f"{what} were found for {found} of {told} objects"
    if not found:
        said = f"no {what} were found within budget for any of {told} objects"
    if not told:
        said = "nothing is known: no object could be judged"
    if already:
        said += f", {already} of which {'is' if already == 1 else 'are'} wrong from all natural viewpoints as well"
    if statuses["blank"]:
        said += f"; {statuses['blank']} {'was' if statuses['blank'] == 1 else 'were'} never seen (blank)"
    if statuses["not finite"]:
        said += f"; for {statuses['not finite']} the classifier gave scores that are not finite"
    return said
