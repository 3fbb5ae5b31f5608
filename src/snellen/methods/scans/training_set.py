"""Poisoned images of a training set: spectral signatures and activation clustering of the classifier's features.

Tran, Li and Madry, "Spectral signatures in backdoor attacks", NeurIPS 2018, arXiv 1811.00636; Chen and others,
"Detecting backdoor attacks on deep neural networks by activation clustering", 2018, arXiv 1811.03728. The mathematics,
and what we add to it, is in :mod:`snellen.metrics.inspection.poisoned_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need, Scanner, build
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.metrics.inspection.poisoned_classes import FEWEST, OUTLIER, PoisonedClass, poisoned_classes, reported
from snellen.models.classifiers.pooled_features import pooled_features
from snellen.runs.estimate import Trial

#: What progress calls it.
TASK = "reading features"

#: The method that also examines what a generator draws of these classes.
BOTH_VIEWS = "trigger_amplification"

#: Classes whose figures are shown, those that stand out most.
SHOWN_CLASSES = 10

ASSUMPTIONS = (
    "the classifier was trained on these images: poison that it did not learn leaves no trace in its features",
    "natural kinds within one class look like poison; view the images before you remove any",
    "poison that is spread over all classes, or that keeps its labels, may not stand out",
)


@dataclass(frozen=True, eq=False)
class Inspected:
    """The usable images of a training set, and what is known of their classes.

    Attributes:
        ids: of the n usable images.
        rows: int64 (n,), their positions in the image set.
        units: their independent units, None where unknown.
        labels: int64 (n,), −1 where unknown.
        predictions: int64 (n,).
        classes: what was found, by class; their ``rows`` are positions in ``ids``.
        rejected: id and reason of each image that could not be used.
        features: float32 (n, d), as they were inspected.
    """

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    units: tuple[str | None, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    classes: Mapping[int, PoisonedClass]
    rejected: tuple[tuple[str, str], ...]
    features: NDArray[np.float32]


@runtime_checkable
class _OfBothViews(Scanner, Protocol):
    """A scan that examines what a generator draws beside the training images."""

    def reference_hashes(self) -> Mapping[str, str]:
        """Hashes of the generator's weights."""
        ...

    def cost(self, images: ImageSet, classifier: Classifier | None) -> Trial | None:
        """What it takes for each image and once."""
        ...


class TrainingSet(Method):
    """Look for poison in the images that a classifier was trained on, class by class.

    Poison under the label of one class makes a second cluster among its features. A class is reported if the cluster
    is found again in images that did not find it, and is more distinct than the clusters of other classes.

    >>> TrainingSet(alpha=0.01).record()["alpha"]
    0.01
    """

    name: ClassVar[str] = "training_set"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("backdoor",)

    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="rate of sets in which a class is reported although no class has two clusters, at most",
    )
    outlier: float = Field(OUTLIER, gt=0, description="robust z of the silhouette from which a class stands out")
    whiten: bool = Field(
        True, description="divide features by their spread within all other classes; the published detectors do not"
    )
    axes: int = Field(3, ge=1, description="dimensions in which two clusters are searched")
    batch_size: int = Field(64, ge=1, description="images in one pass")
    pictures: int = Field(24, ge=0, description="suspicious images that are kept as pictures, at most")
    generator: str | None = Field(
        None,
        description="diffusers:FOLDER or bundled:NAME of a generator that was trained on these images: what it draws "
        "is a second view, as trigger-amplification examines it",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.generator is not None and (not self.whiten or self.axes != 3):
            raise ValueError("with a generator both views are examined alike, whitened and in 3 axes; leave both out")
        return self

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of the generator's weights, which distinguish another scan from this one; none without one."""
        return {} if self.generator is None else dict(self._of_both_views().reference_hashes())

    def cost(self, images: ImageSet, classifier: Classifier | None) -> Trial | None:
        """What it takes for each image and once; None without a generator: a few images say it."""
        return None if self.generator is None else self._of_both_views().cost(images, classifier)

    def _of_both_views(self) -> _OfBothViews:
        """The method of both views, with the numbers of this one."""
        numbers = {name: getattr(self, name) for name in ("generator", "alpha", "outlier", "batch_size", "pictures")}
        found = build("scans", {"method": BOTH_VIEWS, **numbers})
        assert isinstance(found, _OfBothViews)
        return found

    def _in_both_views(
        self, images: ImageSet, classifier: Classifier, rng: Randomness, progress: Progress | None
    ) -> Scanned:
        """What the method of both views finds, as rows of this one."""
        found = self._of_both_views().scan(images, classifier=classifier, rng=rng, progress=progress)
        table = found.evidence.table
        names = pa.array([self.name] * len(table), pa.string())
        table = table.set_column(table.column_names.index("setting"), "setting", names)
        return replace(found, evidence=replace(found.evidence, table=table))

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan the training images of a classifier.

        Returns:
            A row for each image. Its value is the spectral signature of the image among those of its class, from 0 on,
            and its reason is "suspect" in the cluster that makes a class reported. Further columns hold what is known
            of its class. The statistic is the largest robust z of a silhouette; with fewer than eight classes that can
            be judged, the largest silhouette. With a generator, rows, figures and statistic are those of
            :data:`BOTH_VIEWS`.

        Raises:
            InputError: no classifier, no labels, or no features.
        """
        reason = self.missing(classifier, images)
        if classifier is None or reason is not None:
            raise InputError(
                f"{self.name} {reason}" if reason else f"{self.name} needs a classifier: name it before the images"
            )
        if self.generator is not None:
            return self._in_both_views(images, classifier, rng, progress)
        found = self.inspect(images, classifier, rng=rng, progress=progress)
        lost = Evidence.of(
            [key for key, _ in found.rejected],
            setting=self.name,
            model=classifier.name,
            status="rejected",
            reason=[why for _, why in found.rejected],
        )
        if not found.ids:
            return Scanned(lost, None, "no image could be used")
        flagged = self.reported(found.classes)
        rows = self._rows(found, flagged, classifier)
        strengths = [one.silhouette if one.z is None else one.z for one in found.classes.values()]
        return Scanned(
            evidence=Evidence.merge([rows, lost]) if found.rejected else rows,
            statistic=max(strengths, default=None),
            verdict=self.verdict(found.classes, classifier.class_names),
            figures=_figures(found, flagged, classifier.class_names),
            pictures=self._shown(found, flagged, images, classifier),
        )

    def inspect(
        self, images: ImageSet, classifier: Classifier, *, rng: Randomness, progress: Progress | None = None
    ) -> Inspected:
        """Read the features of all images, and inspect their classes; images without a label are read and not judged.

        Raises:
            InputError: a classifier that gives labels alone.
        """
        listener = progress or Silent()
        listener.begin(TASK, len(images))
        ids, rows, rejected = list[str](), list[int](), list[tuple[str, str]]()
        vectors, decided = list[NDArray[np.float32]](), list[NDArray[np.int64]]()
        for batch in prepared_batches(images, classifier.preparation, self.batch_size):
            rejected += batch.rejected
            listener.advance(TASK, len(batch.ids) + len(batch.rejected))
            if not batch.ids:
                continue
            scores, features = pooled_features(classifier, to_unit(batch.pixels).to(classifier.device))
            if features is None:
                raise InputError(f"{self.name} reads features, and {classifier.name} gives labels alone")
            finite = torch.isfinite(features).all(1).cpu().numpy()
            rejected += [
                (one, "its features are not finite (NaN or infinity)")
                for one, fine in zip(batch.ids, finite, strict=True)
                if not fine
            ]
            ids += [one for one, fine in zip(batch.ids, finite, strict=True) if fine]
            rows += [one for one, fine in zip(batch.indices, finite, strict=True) if fine]
            vectors.append(features.float().cpu().numpy()[finite])
            decided.append(classifier.predict(scores).cpu().numpy()[finite])
        listener.finish(TASK)
        kept = np.array(rows, dtype=np.int64)
        labels, units = images.known_labels[kept], images.column("unit_id")
        classes, together = {}, np.concatenate(vectors) if ids else np.zeros((0, 1), dtype=np.float32)
        if ids:
            seed = rng.child(self.name).generator("halves").initial_seed()
            classes = poisoned_classes(
                together,
                labels,
                rng=np.random.default_rng(seed),
                whiten=self.whiten,
                axes=self.axes,
            )
        return Inspected(
            ids=tuple(ids),
            rows=kept,
            units=tuple(None if units[row] is None else str(units[row]) for row in rows),
            labels=labels,
            predictions=np.concatenate(decided) if decided else np.zeros(0, dtype=np.int64),
            classes=classes,
            rejected=tuple(rejected),
            features=together,
        )

    def reported(self, classes: Mapping[int, PoisonedClass]) -> tuple[int, ...]:
        """Classes that have two clusters and stand out."""
        return reported(classes, alpha=self.alpha, outlier=self.outlier)

    def verdict(self, classes: Mapping[int, PoisonedClass], names: tuple[str, ...]) -> str:
        """In guarded words: which class stands out, or that none does."""
        if not classes:
            return f"nothing could be judged: no class has {FEWEST} images"
        flagged = self.reported(classes)
        if not flagged:
            first = max(classes, key=lambda one: classes[one].silhouette)
            return (
                f"no class is suspicious among {len(classes)}, which does not show that the images are free of poison; "
                f"most distinct cluster: class {names[first]!r} ({_figures_of(classes[first])})"
            )
        return "; ".join(
            f"suspicious: class {names[one]!r}: {int(classes[one].suspects.sum())} of {len(classes[one].rows)} images "
            f"form a cluster of their own ({_figures_of(classes[one])})"
            for one in flagged
        )

    def _rows(self, found: Inspected, flagged: tuple[int, ...], classifier: Classifier) -> Evidence:
        count = len(found.ids)
        scores = np.full(count, np.nan)
        suspects, named = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for one, seen in found.classes.items():
            scores[seen.rows] = seen.scores
            suspects[seen.rows] = seen.suspects
            named[seen.rows] = seen.suspects & (one in flagged)

        def of_class(name: str) -> pa.Array:
            values = [getattr(found.classes.get(label), name, None) for label in found.labels.tolist()]
            return pa.array(values, pa.float64())

        return Evidence.of(
            found.ids,
            setting=self.name,
            model=classifier.name,
            unit_ids=found.units,
            label=[None if label < 0 else label for label in found.labels.tolist()],
            prediction=found.predictions.tolist(),
            value=[None if np.isnan(score) else score for score in scores.tolist()],
            status=["skipped" if np.isnan(score) else "ok" for score in scores],
            reason=[
                f"no label, or a class of fewer than {FEWEST} images" if np.isnan(score) else "suspect" if hit else None
                for score, hit in zip(scores, named, strict=True)
            ],
            extra={
                "second_cluster": pa.array(suspects.tolist(), pa.bool_()),
                **{f"class_{name}": of_class(name) for name in ("silhouette", "z", "p_value", "share", "mixture")},
            },
            assumptions=(
                *ASSUMPTIONS,
                f"if no class had two clusters, one would be reported in at most {self.alpha:.0%} of all sets, for "
                "images that are independent of each other",
            ),
            control=f"the same on each of the {len(found.classes)} classes that can be judged",
        )

    def _shown(
        self, found: Inspected, flagged: tuple[int, ...], images: ImageSet, classifier: Classifier
    ) -> list[Shown]:
        # The clearest of every reported class first, so that no class takes all places.
        ranked = [(place, one, at) for one in flagged for place, at in enumerate(found.classes[one].ranked().tolist())]
        return [
            Shown(
                name=found.ids[at],
                text=f"{found.ids[at]}, labelled {classifier.class_names[one]}",
                pictures={"suspect": to_unit(classifier.preparation.pixels(images.read(int(found.rows[at])))).cpu()},
            )
            for _, one, at in sorted(ranked)[: self.pictures]
        ]


def _figures_of(seen: PoisonedClass) -> str:
    beside = "" if seen.z is None else f", {seen.z:.1f} spreads above the other classes"
    return f"silhouette {seen.silhouette:.2f}{beside}, p = {seen.p_value:.2g} for a single cluster"


def _figures(found: Inspected, flagged: tuple[int, ...], names: tuple[str, ...]) -> dict[str, float | None]:
    """Counts, and the figures of the classes that stand out most."""
    figures: dict[str, float | None] = {
        "images": float(len(found.ids)),
        "classes": float(len(found.classes)),
        "classes reported": float(len(flagged)),
        "images named": float(sum(int(found.classes[one].suspects.sum()) for one in flagged)),
    }
    order = sorted(found.classes, key=lambda one: (one not in flagged, -found.classes[one].silhouette))
    for one in order[:SHOWN_CLASSES]:
        seen = found.classes[one]
        figures[f"{names[one]}: silhouette"] = seen.silhouette
        figures[f"{names[one]}: z"] = seen.z
        figures[f"{names[one]}: p value"] = seen.p_value
        figures[f"{names[one]}: share in the second cluster"] = seen.share
    return figures
