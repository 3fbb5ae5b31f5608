"""Which training images may have planted the backdoor: a second cluster among those of the class that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snellen.checks.per_image import PerImage
from snellen.core.randomness import Randomness
from snellen.metrics.inspection.poisoned_classes import FEWEST, PoisonedClass, poisoned_classes

#: Level of the test for a second cluster, over all classes that the search found.
LEVEL = 0.05

#: Name of the list of suspects: ``lists/NAME.json``.
LIST = "backdoor_training"

#: What shows them.
COMMAND = "snellen scan training-set MODEL TRAINING_IMAGES"


@dataclass(frozen=True, eq=False)
class TrainingSuspects:
    """The training images of one class.

    Attributes:
        images: how many there are.
        seen: what was found among them; None where they are too few.
        ids: of those in a second cluster, the most suspicious first; none where no second cluster stands out.
        scores: spectral signature of each, from 0 on.
    """

    images: int
    seen: PoisonedClass | None
    ids: tuple[str, ...]
    scores: tuple[float, ...]

    def note(self, name: str) -> str:
        """What a reader must know."""
        if self.seen is None:
            return f"{self.images} training images are labelled {name}; {FEWEST} are needed to look for poison in them"
        if not self.ids:
            return (
                f"the {self.images} training images labelled {name} show no second cluster that stands out (p = "
                f"{self.seen.p_value:.2g} for a single one); this does not show that they are free of poison"
            )
        return (
            f"{len(self.ids)} of {self.images} training images labelled {name} form a cluster of their own (p = "
            f"{self.seen.p_value:.2g} for a single one), see lists/{LIST}.json; natural kinds within a class look alike"
        )


def training_suspects(training: PerImage, targets: Sequence[int], *, rng: Randomness) -> dict[int, TrainingSuspects]:
    """Look for a second cluster among the training images of each class of ``targets``; nothing without features.

    It is named at a level of :data:`LEVEL`, and where it is more distinct than the clusters of other classes.
    """
    if training.features is None or not len(training):
        return {}
    draws = np.random.default_rng(rng.generator("training images").initial_seed())
    found = poisoned_classes(training.features, training.labels, rng=draws)
    return {target: _suspects(training, target, found.get(target), LEVEL / len(targets)) for target in targets}


def listed(suspects: Mapping[int, TrainingSuspects], names: Sequence[str]) -> list[dict[str, object]]:
    """Rows of the list: id, class and score."""
    return [
        {"id": key, "label": names[target], "score": round(score, 4)}
        for target, one in suspects.items()
        for key, score in zip(one.ids, one.scores, strict=True)
    ]


def advice(suspects: TrainingSuspects | None) -> str:
    """What is done about the training images of a class."""
    if suspects is None:
        return f"look for the images that planted it among the training images: {COMMAND}"
    if not suspects.ids:
        return f"look at the training images of this class, by all detectors: {COMMAND}"
    return f"look through lists/{LIST}.json, the most suspicious training images first; for their pictures: {COMMAND}"


def _suspects(training: PerImage, target: int, seen: PoisonedClass | None, level: float) -> TrainingSuspects:
    count = int((training.labels == target).sum())
    if seen is None or seen.p_value > level or not seen.stands_out():
        return TrainingSuspects(count, seen, (), ())
    ranked, score = seen.ranked(), dict(zip(seen.rows.tolist(), seen.scores.tolist(), strict=True))
    return TrainingSuspects(
        count, seen, tuple(training.ids[at] for at in ranked), tuple(score[at] for at in ranked.tolist())
    )
