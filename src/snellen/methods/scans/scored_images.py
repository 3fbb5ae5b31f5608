"""What scans have in common that give each image a score for being poisoned: rows, classes that stand out, pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.data.worlds.planting.truth import planted_of
from snellen.metrics.auroc import auroc
from snellen.metrics.inspection.high_shares import FEWEST, HighShare, high_shares, suspicious

#: What progress calls it.
TASK = "scoring images"

#: Why an image has no score.
_NOT_FINITE = "its score is not finite (NaN or infinity)"

ASSUMPTIONS = (
    "the classifier was trained on these images, or on images with the same poison",
    "poison lies under few labels: spread over all classes, no class stands out",
    "images with a high score are not proven to be poisoned; view them before you remove any",
)


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of the n usable images.

    Attributes:
        ids: of them.
        rows: int64 (n,), their positions in the image set.
        scores: float64 (n,), high is suspicious.
        labels: int64 (n,), −1 where unknown.
        predictions: int64 (n,).
        rejected: id and reason of each image that could not be used.
    """

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    rejected: tuple[tuple[str, str], ...]


class ScoredImages(Method):
    """A scan that gives each image a score; subclasses say how."""

    finds: ClassVar[tuple[str, ...]] = ("backdoor",)

    rate: float = Field(0.05, gt=0, lt=0.5, description="share of the images of other classes above the threshold")
    alpha: float = Field(0.05, gt=0, lt=1, description="rate of sets whose lower bound is too high by chance, at most")
    outlier: float = Field(3.0, gt=0, description="robust z among the classes from which a share stands out")
    batch_size: int = Field(64, ge=1, description="images in one pass")
    pictures: int = Field(24, ge=0, description="images with the highest scores that are kept as pictures, at most")

    @abstractmethod
    def prepared(self, images: ImageSet, classifier: Classifier, rng: Randomness) -> object:
        """What every batch needs of the whole set, or None."""

    @abstractmethod
    def scores(self, classifier: Classifier, pixels: Tensor, shared: object, rng: Randomness) -> Tensor:
        """Scores (n,) of prepared images (n, 3, h, w) in [0, 1]; draws are bound to their ids."""

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Score images before a classifier.

        Returns:
            A row for each image: the value is its score, high is suspicious; the reason is "suspect" above the
            threshold of a class that stands out. The statistic is the largest share of high scores in a class, or None
            where no class can be judged. Where the set says which images have a trigger (column ``planted``), the
            figure ``auroc`` says how well scores find them.

        Raises:
            InputError: no classifier, or one that lacks what is needed.
        """
        reason = self.missing(classifier, images)
        if classifier is None or reason is not None:
            raise InputError(f"{self.name} {reason or 'needs a classifier: name it before the images'}")
        found = self.scored(images, classifier, rng=rng, progress=progress)
        lost = Evidence.of(
            [key for key, _ in found.rejected],
            setting=self.name,
            model=classifier.name,
            status="rejected",
            reason=[why for _, why in found.rejected],
        )
        if not found.ids:
            return Scanned(lost, None, "no image could be used")
        classes = self.shares(found)
        flagged = suspicious(classes, rate=self.rate, outlier=self.outlier)
        figures = self._figures(found, classes, images, classifier.class_names)
        return Scanned(
            evidence=Evidence.merge([self._rows(found, classes, flagged, images, classifier), lost]),
            statistic=max((one.share for one in classes.values()), default=None),
            verdict=self.verdict(classes, classifier.class_names),
            figures=figures,
            pictures=self._shown(found, images, classifier),
        )

    def scored(
        self, images: ImageSet, classifier: Classifier, *, rng: Randomness, progress: Progress | None = None
    ) -> Scored:
        """Score all images."""
        listener, draws = progress or Silent(), rng.child(self.name)
        listener.begin(TASK, len(images))
        shared = self.prepared(images, classifier, draws)
        ids, rows, rejected = list[str](), list[int](), list[tuple[str, str]]()
        scores, decided = list[float](), list[int]()
        for batch in prepared_batches(images, classifier.preparation, self.batch_size):
            rejected += batch.rejected
            listener.advance(TASK, len(batch.ids) + len(batch.rejected))
            if not batch.ids:
                continue
            pixels = to_unit(batch.pixels).to(classifier.device)
            values = self.scores(classifier, pixels, shared, draws.for_examples(batch.ids)).cpu().double()
            classes = classifier.predict(classifier(pixels).detach()).cpu()
            for key, row, value, one in zip(batch.ids, batch.indices, values.tolist(), classes.tolist(), strict=True):
                if not np.isfinite(value):
                    rejected.append((key, _NOT_FINITE))
                    continue
                ids.append(key)
                rows.append(row)
                scores.append(value)
                decided.append(one)
        listener.finish(TASK)
        kept = np.array(rows, dtype=np.int64)
        labels = images.known_labels[kept] if images.has_labels else np.full(len(kept), -1, dtype=np.int64)
        return Scored(
            tuple(ids), kept, np.array(scores), labels, np.array(decided, dtype=np.int64), tuple(rejected)
        )  # fmt: skip

    def shares(self, found: Scored) -> dict[int, HighShare]:
        """Classes by label; by decision where labels are not known."""
        known = (found.labels >= 0).any()
        return high_shares(found.scores, found.labels if known else found.predictions, rate=self.rate, alpha=self.alpha)

    def verdict(self, classes: Mapping[int, HighShare], names: tuple[str, ...]) -> str:
        """In guarded words: which class stands out, or that none does."""
        if not classes:
            return f"nothing could be judged: no two classes have {FEWEST} images each"
        flagged = suspicious(classes, rate=self.rate, outlier=self.outlier)
        if not flagged:
            return (
                f"no class is suspicious among {len(classes)}, which does not show that the images are free of poison"
            )
        return "; ".join(
            f"suspicious: class {names[one]!r}: {classes[one].share:.0%} of {len(classes[one].rows)} images score "
            f"higher than {1 - self.rate:.0%} of the other classes"
            for one in flagged
        )

    def _rows(
        self,
        found: Scored,
        classes: Mapping[int, HighShare],
        flagged: tuple[int, ...],
        images: ImageSet,
        classifier: Classifier,
    ) -> Evidence:
        high, named = np.zeros(len(found.ids), dtype=bool), np.zeros(len(found.ids), dtype=bool)
        for one, seen in classes.items():
            high[seen.rows] = seen.high
            named[seen.rows] = seen.high & (one in flagged)
        units = images.column("unit_id")
        return Evidence.of(
            found.ids,
            setting=self.name,
            model=classifier.name,
            unit_ids=[None if units[row] is None else str(units[row]) for row in found.rows],
            label=[None if label < 0 else label for label in found.labels.tolist()],
            prediction=found.predictions.tolist(),
            value=found.scores.tolist(),
            reason=["suspect" if hit else None for hit in named],
            extra={"high": pa.array(high.tolist(), pa.bool_())},
            assumptions=ASSUMPTIONS,
            control=f"the share of high scores in each of the {len(classes)} classes that can be judged. "
            f"{self.rate:.0%} is expected of a class that is like the others",
        )

    def _figures(
        self, found: Scored, classes: Mapping[int, HighShare], images: ImageSet, names: tuple[str, ...]
    ) -> dict[str, float | None]:
        figures: dict[str, float | None] = {"images": float(len(found.ids)), "classes": float(len(classes))}
        for one in sorted(classes, key=lambda one: -classes[one].share)[:10]:
            figures[f"{names[one]}: share of high scores"] = classes[one].share
            figures[f"{names[one]}: lower bound"] = classes[one].low
        entries = planted_of(images, "trigger")  # reads the records of all rows: once, and not for each image
        planted = np.array([entries[row] is not None for row in found.rows])
        if planted.any() and not planted.all():
            figures["auroc"] = auroc(planted, found.scores)
        return figures

    def _shown(self, found: Scored, images: ImageSet, classifier: Classifier) -> list[Shown]:
        order = np.argsort(-found.scores, kind="stable")[: self.pictures]
        return [
            Shown(
                name=found.ids[at],
                text=f"{found.ids[at]}, score {found.scores[at]:.3f}, "
                f"decided {classifier.class_names[found.predictions[at]]}",
                pictures={"image": to_unit(classifier.preparation.pixels(images.read(int(found.rows[at])))).cpu()},
            )
            for at in order.tolist()
        ]
