"""Whether the classes of a model and those of the labels are in another order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import in_first_half
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding
from snellen.core.listed_names import listed_names
from snellen.metrics.clustered import clustered_mean, clustered_share

#: Images of a class, in the half that the order is read from, below which nothing is read from it.
FEWEST = 4

#: By how much more of the images of moved classes the other order must explain.
FAR_BETTER = 0.25

#: p value, on the other half of the images, up to which the other order counts as shown.
CERTAIN = 1e-3

#: Classes that a title names, and how it begins.
NAMED, PERMUTED = 4, "Classes look permuted"


@dataclass(frozen=True, eq=False)
class OtherOrder:
    """A permutation of classes that explains the answers far better than none.

    Attributes:
        answers: class of the label → class that the model gives for it, of classes that are moved.
        judged: images that the order was not read from.
        p_value: of the order explaining no more than :data:`FAR_BETTER` more of the moved classes there.
    """

    answers: dict[int, int]
    judged: PerImage
    p_value: float

    @classmethod
    def of(cls, known: PerImage, classes: int) -> OtherOrder | None:
        """The order that most answers of one half of the images follow, if the other half confirms it.

        Args:
            known: images with labels.
            classes: how many there are.
        """
        first = in_first_half(known.unit_ids or known.ids)
        answers = _moved(known.select(first), classes)
        judged = known.select(~first)
        moved = np.isin(judged.labels, list(answers))
        if len(answers) < 2 or not moved.any():
            return None
        gain = _explained(judged, answers).astype(float) - judged.correct
        mean = clustered_mean(gain[moved] - FAR_BETTER, judged.units_of(moved), pseudo_units=1)
        p_value = mean.p_value()
        return cls(answers, judged, p_value) if p_value <= CERTAIN else None

    def words(self, names: tuple[str, ...]) -> list[str]:
        """The cycles of the permutation in words, those of most classes first.

        >>> OtherOrder({0: 1, 1: 0}, PerImage((), *[np.zeros(0, np.int64)] * 2), 0.0).words(("cat", "dog"))
        ['cat ↔ dog']
        """
        left, found = dict(self.answers), list[list[int]]()
        while left:
            # A chain that ends in a class without images begins with the class that nothing is taken for.
            start = next((one for one in left if one not in left.values()), next(iter(left)))
            chain = [start]
            while chain[-1] in left:
                chain.append(left.pop(chain[-1]))
            found.append(chain)
        found.sort(key=len, reverse=True)
        return [
            f"{names[chain[0]]} ↔ {names[chain[1]]}"
            if len(chain) == 3 and chain[0] == chain[2]
            else " → ".join(names[one] for one in chain)
            for chain in found
        ]

    def title(self, names: tuple[str, ...]) -> str:
        """Which classes look permuted, in a line."""
        return f"{PERMUTED}: {listed_names(self.words(names), NAMED)}"

    @property
    def accuracy(self) -> float:
        """Share of the judged images that are right in the order as it is given."""
        return float(self.judged.correct.mean())

    @property
    def other_accuracy(self) -> float:
        """The same in the other order."""
        unmoved = self.judged.correct & ~np.isin(self.judged.labels, list(self.answers))
        return float((_explained(self.judged, self.answers) | unmoved).mean())

    def hypothesis(self, names: tuple[str, ...]) -> Hypothesis:
        """That the classes are in one order; harm is the share of images that only the other order explains."""
        explained = _explained(self.judged, self.answers)
        lost = explained & ~self.judged.correct

        def finding(harm: float) -> Finding:
            return Finding(
                kind="class_order",
                harm=harm,
                p_value=self.p_value,
                title=f"{self.title(names)}; compare the order of the class names with that of the outputs",
                facts={
                    "moved_classes": len(self.answers),
                    "accuracy": self.accuracy,
                    "accuracy_in_the_other_order": self.other_accuracy,
                    **{f"labelled_{names[label]}": names[answer] for label, answer in list(self.answers.items())[:20]},
                },
            )

        return Hypothesis(
            self.p_value, lambda level: clustered_share(lost, self.judged.units, 2 * level - 1).low, finding
        )


def constant_answer(known: PerImage) -> int | None:
    """The class that a classifier gives for every image although the images are of several; None if it gives others."""
    answers = np.unique(known.predictions)
    return int(answers[0]) if len(answers) == 1 and len(known.classes_present()) > 1 else None


def _moved(known: PerImage, classes: int) -> dict[int, int]:
    """Classes with most images given one other class, where that is a permutation; else nothing."""
    found: dict[int, int] = {}
    present = known.classes_present()
    for label in present:
        answers = np.bincount(known.predictions[known.labels == label], minlength=classes)
        mostly = int(answers.argmax())
        if mostly != label and answers.sum() >= FEWEST and answers[mostly] > answers.sum() / 2:
            found[label] = mostly
    targets = list(found.values())
    # A class that another one is taken for must be moved itself, or have no images: else it is plain confusion.
    once = len(set(targets)) == len(targets)
    return found if once and all(target in found or target not in present for target in targets) else {}


def _explained(known: PerImage, answers: dict[int, int]) -> NDArray[np.bool_]:
    """Whether each image of a moved class is given the class that the other order says."""
    wanted = np.array([answers.get(int(label), -1) for label in known.labels], dtype=np.int64)
    explained: NDArray[np.bool_] = known.predictions == wanted
    return explained
