"""Whether there are several classes that a model never gives, although images of them are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import PerImage, confident_mistakes
from snellen.core.finding import Finding
from snellen.core.listed_names import listed_names

#: Largest p value, times the number of classes, of a class being no worse than the others. Beside up to 5,000 tests of
#: a run that stays significant, so that the finding of these classes comes with one of each of them.
CERTAIN = 1e-5

#: Classes that a title names, and the facts.
NAMED, LISTED = 4, 50


@dataclass(frozen=True, eq=False)
class UnansweredClasses:
    """Classes that no image is given, and that are worse than the others for it.

    Attributes:
        labels: at least two.
        present: how many classes have images.
        gap: errors of their images beside those of the others.
        p_value: of the classes having been chosen although one of them is no worse than the others: the largest one of
            a single class, times the number of classes that might have been chosen.
    """

    labels: tuple[int, ...]
    present: int
    gap: ErrorGap
    p_value: float

    @classmethod
    def of(cls, known: PerImage) -> UnansweredClasses | None:
        """The classes of the labels that no decision names; None where fewer than two are shown to be worse.

        Args:
            known: images with labels.
        """
        present, found = known.classes_present(), dict[int, float]()
        for label in np.setdiff1d(present, known.predictions).tolist():
            gap = error_gap(~known.correct, known.labels == label, known.units, known.weighed)
            if gap is not None and gap.p_value * len(present) <= CERTAIN:
                found[label] = gap.p_value * len(present)
        together = error_gap(~known.correct, np.isin(known.labels, list(found)), known.units, known.weighed)
        if len(found) < 2 or together is None:
            return None
        return cls(tuple(found), len(present), together, max(found.values()))

    def title(self, names: tuple[str, ...]) -> str:
        """Which classes are never given, in a line. Those of too few images to be sure of are not counted."""
        named = listed_names([names[label] for label in self.labels], NAMED)
        return f"The classifier never answers {len(self.labels)} of {self.present} classes: {named}"

    def hypothesis(self, known: PerImage, names: tuple[str, ...], examples: int) -> Hypothesis:
        """That these classes are no worse than the others.

        Args:
            known: the images that they were found in.
            names: of all classes.
            examples: pictures of the finding.
        """
        own = known.select(np.isin(known.labels, self.labels))
        given = np.bincount(own.predictions, minlength=len(names))

        def finding(harm: float) -> Finding:
            return Finding(
                kind="unanswered_classes",
                harm=harm,
                p_value=self.p_value,
                title=self.title(names),
                facts={
                    "classes": len(self.labels),
                    "images": self.gap.inside_n,
                    "accuracy_elsewhere": 1 - self.gap.outside,
                    **self.gap.costs,
                    "mostly_taken_for": names[int(given.argmax())],
                    **{f"class_{place}": names[label] for place, label in enumerate(self.labels[:LISTED], 1)},
                },
                examples=confident_mistakes(own, names, examples),
            )

        return Hypothesis(self.p_value, self.gap.harm, finding)
