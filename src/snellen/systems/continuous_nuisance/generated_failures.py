"""Generated trajectories that a model gets wrong on the way: what a finding shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from snellen.checks.panels import keep_picture
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.finding import FindingExample
from snellen.core.preparation import to_image, to_unit
from snellen.metrics.sweep import setting_name


@dataclass(frozen=True, eq=False)
class FirstFailure:
    """A trajectory that is right at strength 0, where it first fails.

    Attributes:
        id: of the trajectory.
        label: its class.
        prediction: what is decided instead.
        strength: the first one at which that is so.
        before: image of strength 0, uint8 (3, h, w).
        after: image of that strength.
    """

    id: str
    label: int
    prediction: int
    strength: float
    before: Tensor
    after: Tensor

    def example(self, classifier: Classifier, pictures: dict[str, bytes] | None) -> FindingExample:
        """How a finding shows it: with pictures as the model saw them, where there is a place to keep them."""
        names = classifier.class_names
        shown: list[str | None] = [None, None]
        if pictures is not None:
            prepared = [classifier.prepare(to_image(to_unit(one))) for one in (self.before, self.after)]
            shown = [keep_picture(pictures, one) for one in prepared]
        return FindingExample(
            example_id=self.id,
            caption=f"generated {names[self.label]} at strength {self.strength:g}: {names[self.prediction]}",
            image=shown[0],
            after=shown[1],
        )


def failures_of(
    evidence: Evidence, concept: str, strengths: Sequence[float], ids: Sequence[str], pixels: Tensor
) -> list[FirstFailure]:
    """The trajectories of one shift that are right at strength 0 and fail later, in their order.

    Args:
        evidence: of one model; trajectories that it lacks at some strength are passed over.
        concept: name of the shift.
        strengths: ascending from 0.
        ids: of n trajectories.
        pixels: uint8 (n, strengths, 3, h, w).
    """
    settings = [setting_name(concept, strength) for strength in strengths]
    right = [evidence.correct(setting) for setting in settings]
    found: list[FirstFailure] = []
    for place, key in enumerate(ids):
        measured = all(key in one for one in right) and right[0][key]
        at = next((at for at, one in enumerate(right) if not one[key]), None) if measured else None
        if at is not None:
            (row,) = evidence.where(example_id=key, setting=settings[at]).table.to_pylist()
            found.append(
                FirstFailure(key, row["label"], row["prediction"], strengths[at], pixels[place, 0], pixels[place, at])
            )
    return found
