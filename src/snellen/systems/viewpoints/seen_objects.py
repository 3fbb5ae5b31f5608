"""A model's decisions on objects from their own viewpoints and from random ones: the rows of the check
``viewpoint``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, NOT_SEEN
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.solids.solid_set import draw_viewpoints
from snellen.data.worlds.view_set import ViewedObject
from snellen.data.worlds.viewpoints import COORDINATES, RecordedRenderer
from snellen.metrics.clustered import clustered_share
from snellen.systems.viewpoints.search import Judged, judge, scores_of
from snellen.systems.viewpoints.view_map import Region, view_map
from snellen.systems.viewpoints.views import look_of


def judged_rows(
    judged: Judged, classifier: Classifier, *, object_id: str, label: int, viewpoints: Tensor, setting: str
) -> Evidence:
    """One row per view of an object; one that does not show it is rejected, one without finite scores failed.

    Args:
        judged: n views.
        classifier: that decided.
        object_id: the unit.
        label: its class.
        viewpoints: (n, 6).
        setting: name in the evidence.
    """
    shown, count = (~judged.blank).tolist(), len(judged.blank)
    predictions: list[int | None] = [None] * count
    if judged.finite and any(shown):
        said = classifier.predict(judged.scores[~judged.blank]).tolist()
        for place in range(count):
            predictions[place] = said.pop(0) if shown[place] else None
    evidence = Evidence.of(
        [f"{object_id}/{number:04d}" for number in range(count)],
        setting=setting,
        model=classifier.name,
        unit_ids=[object_id] * count,
        label=[label] * count,
        prediction=predictions,
        status=["rejected" if not one else "ok" if judged.finite else "failed" for one in shown],
        reason=[NOT_SEEN if not one else None if judged.finite else NOT_FINITE for one in shown],
        spent=Spent(queries=sum(shown)),
    )
    return with_viewpoints(evidence, viewpoints, judged.success)


def with_viewpoints(evidence: Evidence, viewpoints: Tensor, success: Tensor) -> Evidence:
    """The same rows with the six numbers of each viewpoint, whether the decision is right, and the criterion met."""
    columns: Mapping[str, pa.Array] = {
        "right": pa.array(
            [
                None if predicted is None else label == predicted
                for label, predicted in zip(
                    evidence.table["label"].to_pylist(), evidence.table["prediction"].to_pylist(), strict=True
                )
            ],
            pa.bool_(),
        ),
        "success": pa.array(success.flatten().tolist(), pa.bool_()),
        **{
            name: pa.array(values.tolist(), pa.float64())
            for name, values in zip(COORDINATES, viewpoints.reshape(-1, len(COORDINATES)).double().T, strict=True)
        },
    }
    table = evidence.table
    for name, column in columns.items():
        table = table.append_column(name, column)
    return Evidence(table, evidence.spent, evidence.assumptions, evidence.control)


def viewpoints_in(evidence: Evidence) -> Tensor:
    """The viewpoints of rows, float64 (n, 6)."""
    return torch.tensor([evidence.table[name].to_pylist() for name in COORDINATES], dtype=torch.float64).T.contiguous()


#: Share of a picture that an object must cover; less is a blank view, which counts neither way.
LEAST_COVERAGE = 0.005

#: Objects that must have been seen in a field of the map before it can be the worst.
LEAST_OBJECTS = 3


@dataclass(frozen=True, eq=False)
class Seen:
    """Views of one object that show it.

    Attributes:
        places: of these views among the requested ones, int64 (n,).
        viewpoints: float64 (n, 6).
        predictions: int64 (n,); −1 where the scores are not finite.
        right: bool (n,).
    """

    places: NDArray[np.int64]
    viewpoints: Tensor
    predictions: NDArray[np.int64]
    right: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of right decisions."""
        return float(self.right.mean())


@dataclass(frozen=True, eq=False)
class SeenObject:
    """One object: its own viewpoints in the set, and random ones."""

    viewed: ViewedObject
    natural: Seen
    random: Seen


def seen_object(
    classifier: Classifier, renderer: RecordedRenderer, viewed: ViewedObject, rng: Randomness, *, views: int
) -> SeenObject | str:
    """Draw one object from at most so many of its own viewpoints and from as many random ones.

    Returns:
        What was seen, or why nothing was.
    """
    natural = viewed.viewpoints[:views]
    seeds = [derive_seed(rng.seed, *rng.path, viewed.object_id, number) for number in range(len(natural))]
    try:
        both = [seen(classifier, renderer, viewed, looks) for looks in (natural, draw_viewpoints(seeds, "any"))]
    except RejectedImageError as error:
        return str(error)
    if not all(len(one.right) for one in both):
        return f"{viewed.object_id}: it is not in sight in any of {len(natural)} views"
    return SeenObject(viewed, *both)


def seen(classifier: Classifier, renderer: RecordedRenderer, viewed: ViewedObject, viewpoints: Tensor) -> Seen:
    """A model's decisions on one object from some viewpoints; those that do not show it are left out.

    Raises:
        RejectedImageError: the object cannot be used.
    """
    look = look_of(renderer, viewed.object_id, prepare=classifier.prepare, least_coverage=LEAST_COVERAGE)
    judged = judge(look, scores_of(classifier), viewpoints, label=viewed.label, criterion=Misclassified())
    shown = ~judged.blank
    scores = judged.scores[shown]
    finite = torch.isfinite(scores).all(1).numpy()
    said = np.where(finite, classifier.predict(scores.nan_to_num()).numpy(), -1) if len(scores) else np.zeros(0, int)
    return Seen(shown.numpy().nonzero()[0], viewpoints[shown], said.astype(np.int64), said == viewed.label)


@dataclass(frozen=True, eq=False)
class WorstRegion:
    """The field of the map that one half of the objects says is worst, and what the other half shows there.

    Attributes:
        region: where.
        right: share of right decisions of the other half there.
        low, high: 95 % interval, objects are drawn.
        views: of the other half there.
    """

    region: Region
    right: float
    low: float
    high: float
    views: int


def worst_region(found: Sequence[SeenObject], first: NDArray[np.bool_]) -> WorstRegion | None:
    """Choose on one half of the objects and measure on the other; None where either half has too few views.

    Args:
        found: the objects.
        first: which are in the half that chooses, bool (n,).
    """
    halves = [[one for one, own in zip(found, first.tolist(), strict=True) if own is half] for half in (True, False)]
    if not all(halves):
        return None
    choosing, telling = (random_views(half) for half in halves)
    mapped = view_map(*choosing)
    place = mapped.lowest(objects=LEAST_OBJECTS)
    if place is None:
        return None
    region = mapped.region(*place)
    viewpoints, right, owners = telling
    inside = region.holds(viewpoints)
    if not inside.any():
        return None
    units = np.unique(np.array(owners)[inside], return_inverse=True)[1]
    low, high = clustered_share(right[inside], units)
    return WorstRegion(region, float(right[inside].mean()), low, high, int(inside.sum()))


def random_views(found: Sequence[SeenObject]) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Viewpoints (n, 6), whether each is right, and its object, of all random views."""
    viewpoints = torch.cat([one.random.viewpoints for one in found]).double().numpy()
    right = np.concatenate([one.random.right for one in found])
    owners = [one.viewed.object_id for one in found for _ in range(len(one.random.right))]
    return viewpoints, right, owners
