"""The scan: poison of a training set, searched among its images and among those of a generator that was trained on it.

Pan et al., "From Trojan horses to castle walls", NeurIPS 2024, arXiv 2311.02373, section 5: detectors find poison more
clearly in what a poisoned diffusion model draws. The detector is that of ``snellen scan training-set``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from snellen.core.method import Method, Need
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.worlds.planting.truth import planted_of
from snellen.methods.generation.made_images import generator_of, identities_of
from snellen.methods.scans.training_set import Inspected, TrainingSet
from snellen.metrics.auroc import auroc
from snellen.metrics.inspection.poisoned_classes import FEWEST, OUTLIER
from snellen.models.diffusion.generator import Generator
from snellen.runs.estimate import Cost, Trial
from snellen.systems.trigger_amplification.drawn_classes import (
    check_drawn,
    tried_of_each,
    undrawn_classes,
    without_classes,
)
from snellen.systems.trigger_amplification.views import SuspectClass, check_generator, generated_view, suspect_class

#: How the missing generator is named.
HOW = (
    "needs a generator that was trained on these images (--generator diffusers:FOLDER). Without one, use: snellen scan "
    "training-set MODEL DATA"
)

#: Classes that are drawn to say what a scan takes, at most.
TIMED = 8

#: The column ``view`` of the rows.
VIEWS = ("training", "generated")

ASSUMPTIONS = (
    "classifier and generator were trained on these images: poison that they did not learn leaves no trace",
    "natural kinds within one class look like poison, in both views; view the images before you remove any",
    "the amplification is the ratio of two shares by one probe, whose errors are the same for no two sets",
)


class TriggerAmplification(Method):
    """Look for poison among training images and among images of a generator that was trained on them.

    >>> TriggerAmplification(guidance=5).record()["guidance"]
    5.0
    """

    name: ClassVar[str] = "trigger_amplification"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("backdoor",)

    generator: str | None = Field(
        None, description="diffusers:FOLDER or bundled:NAME of a generator of these classes, trained on these images"
    )
    count: int = Field(100, ge=FEWEST, description="generated images of each class")
    steps: int = Field(50, ge=1, description="of the sampler, DDIM")
    guidance: float = Field(3.0, ge=1, description="scale w of eps_u + w (eps_c - eps_u); 1 is no guidance")
    prompt: str = Field("A photo of a {class_name}", description="of each class, for a generator that takes prompts")
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="rate of sets in which a class is reported by chance, at most; each view gets half",
    )
    outlier: float = Field(OUTLIER, gt=0, description="robust z of the silhouette from which a class stands out")
    batch_size: int = Field(64, ge=1, description="images in one pass")
    pictures: int = Field(24, ge=0, description="pairs of a generated and a training image that are kept, at most")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run."""
        if self.generator is None:
            return HOW
        if "{class_name}" not in self.prompt:
            return f"needs {{class_name}} in its prompt; got {self.prompt!r}"
        return super().missing(classifier, images)

    def load(self) -> None:
        """Load the generator, so that an unusable one raises before the scan."""
        if self.generator is not None:
            generator_of(self.generator)

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of the generator's weights, which distinguish another scan from this one."""
        return {} if self.generator is None else identities_of(generator_of(self.generator), "generator.")

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan the training images of a classifier and a generator.

        Returns:
            A row for each training image and for each generated one, ``view`` says which; their value is the spectral
            signature in that view, and the reason is "suspect" where the probe of a reported class names it. The
            statistic is the largest share of named generated images of a reported class; 0 where none is reported, and
            None where no class could be judged. A class is reported if one view reports it, at half of ``alpha``.
            Where no class has enough training images, nothing is generated.

        Raises:
            InputError: no classifier, generator or labels; a generator without these classes, or without these steps;
                a generator of prompts in whose images the classifier does not see the requested classes.
        """
        reason = self.missing(classifier, images)
        if classifier is None or reason is not None or self.generator is None:
            raise InputError(f"{self.name} {reason or 'needs a classifier: name it before the images'}")
        detector, generator = self._detector(), self._generator(classifier)
        shown, names = align_labels(images, classifier.class_names), classifier.class_names
        check_generator(generator, _present(shown.known_labels, names), steps=self.steps)
        training = detector.inspect(shown, classifier, rng=rng, progress=progress)
        if not training.ids:
            return Scanned(_lost(self.name, classifier, training), None, "no image could be used")
        if not training.classes:
            rows = self._rows(training, [], "training", classifier)
            return Scanned(
                Evidence.merge([rows, _lost(self.name, classifier, training)]),
                None,
                f"nothing could be judged: no class has {FEWEST} usable training images, so no image was generated",
            )
        wanted = _present(training.labels, names)
        if generator.takes == "prompts":
            tried = self._drawn(generator, wanted, tried_of_each(len(wanted)), rng, progress)
            tried = align_labels(tried, names)
            check_drawn(detector.inspect(tried, classifier, rng=rng.child("tried")), generator.name, classifier.name)
        made = align_labels(self._drawn(generator, wanted, self.count, rng, progress), names)
        everything = detector.inspect(made, classifier, rng=rng.child("generated"), progress=progress)
        undrawn = undrawn_classes(everything)
        # A generator of classes knows them. Where one shows another class, that may be the poison that is searched.
        left_out = generator.takes == "prompts"
        generated = without_classes(everything, undrawn) if left_out else everything
        first, second = detector.reported(training.classes), detector.reported(generated.classes)
        found = [
            suspect_class(one, training, generated, in_training=one in first, in_generated=one in second)
            for one in sorted({*first, *second})
        ]
        figures: dict[str, float | None] = {
            "training images": float(len(training.ids)),
            "generated images": float(len(generated.ids)),
            "classes reported among training images": float(len(first)),
            "classes reported among generated images": float(len(second)),
        }
        for one in found:
            figures |= one.figures(names[one.label])
        figures["share of generated images with the requested class"] = (
            float((generated.labels == generated.predictions).mean()) if generated.ids else None
        )
        parts = [
            self._rows(training, found, "training", classifier),
            self._rows(generated, found, "generated", classifier),
        ]
        figures |= _auroc(training, shown)
        return Scanned(
            evidence=Evidence.merge([*parts, _lost(self.name, classifier, training, generated)]),
            statistic=_statistic(found),
            verdict=self._verdict(found, training, generated, names)
            + _doubted(everything, undrawn, classifier, left_out=left_out),
            figures=figures,
            pictures=self._shown(found, training, generated, shown, made, classifier),
        )

    def cost(self, images: ImageSet, classifier: Classifier | None) -> Trial | None:
        """What a scan takes once, for the images that it draws, and for each training image.

        It draws one image of each of at most :data:`TIMED` classes with one and with three steps, and reads them. A
        larger batch may take less. The first images of a generator of prompts are counted too.

        Raises:
            InputError: as :meth:`scan`.
        """
        reason = self.missing(classifier, images)
        if classifier is None or reason is not None:
            return None
        generator, names = self._generator(classifier), classifier.class_names
        wanted = _present(align_labels(images, names).known_labels, names)
        check_generator(generator, wanted, steps=self.steps)
        timed = wanted[:TIMED]

        def taken(steps: int) -> tuple[float, ImageSet]:
            few, started = self.model_copy(update={"steps": steps}), time.perf_counter()
            made = few._drawn(generator, timed, 1, Randomness(0), None)
            return time.perf_counter() - started, made

        taken(1)  # warms up
        (one, made), (more, _) = taken(1), taken(min(3, self.steps))
        step = max(more - one, 0.0) / max(min(3, self.steps) - 1, 1)
        started = time.perf_counter()
        self._detector().inspect(align_labels(made, names), classifier, rng=Randomness(0))
        read = (time.perf_counter() - started) / len(made)
        tried = tried_of_each(len(wanted)) if generator.takes == "prompts" else 0
        drawn = (self.count + tried) * len(wanted)
        seconds = drawn * ((one + (self.steps - 1) * step) / len(made) + read)
        return Trial(
            seconds=Cost(once=seconds, each=read), queries=Cost(once=drawn, each=1), gradients=Cost(once=0, each=0)
        )

    def _detector(self) -> TrainingSet:
        # Two views are two chances to report a class; each gets half of the rate (Bonferroni).
        return TrainingSet(alpha=self.alpha / 2, outlier=self.outlier, batch_size=self.batch_size)

    def _generator(self, classifier: Classifier) -> Generator:
        assert self.generator is not None
        return generator_of(self.generator, None if classifier.device.type == "cpu" else str(classifier.device))

    def _drawn(
        self, generator: Generator, wanted: Sequence[str], count: int, rng: Randomness, progress: Progress | None
    ) -> ImageSet:
        """So many images of each class; fewer are the first of more."""
        return generated_view(
            generator,
            wanted,
            count=count,
            steps=self.steps,
            guidance=self.guidance,
            prompt=self.prompt,
            rng=rng.child(self.name),
            batch_size=self.batch_size,
            progress=progress,
        )

    def _verdict(
        self, found: Sequence[SuspectClass], training: Inspected, generated: Inspected, names: Sequence[str]
    ) -> str:
        views = {"training images": training, "generated images": generated}
        if not found:
            judged = " and ".join(f"{len(view.classes)} in the {name}" for name, view in views.items() if view.classes)
            free = "which does not show that they are free of poison"
            return f"no class is suspicious among {judged}, {free}"
        return "; ".join(_sentence(one, names) for one in found)

    def _rows(self, seen: Inspected, found: Sequence[SuspectClass], view: str, classifier: Classifier) -> Evidence:
        count = len(seen.ids)
        scores, named = np.full(count, np.nan), np.zeros(count, dtype=bool)
        for one in seen.classes.values():
            scores[one.rows] = one.scores
        for suspect in found:
            rows, hits = (
                (suspect.training_rows, suspect.training)
                if view == "training"
                else (suspect.generated_rows, suspect.generated)
            )
            named[rows] = hits
        return Evidence.of(
            seen.ids,
            setting=self.name,
            model=classifier.name,
            unit_ids=seen.units,
            label=[None if label < 0 else label for label in seen.labels.tolist()],
            prediction=seen.predictions.tolist(),
            value=[None if np.isnan(score) else score for score in scores.tolist()],
            status=["skipped" if np.isnan(score) else "ok" for score in scores],
            reason=[
                "suspect"
                if hit
                else f"no label, or a class of fewer than {FEWEST} images or that is not drawn"
                if np.isnan(score)
                else None
                for score, hit in zip(scores, named, strict=True)
            ],
            extra={"view": pa.array([view] * count, pa.string())},
            assumptions=ASSUMPTIONS,
            control="the share of generated images of other classes that the same probe names",
        )

    def _shown(
        self,
        found: Sequence[SuspectClass],
        training: Inspected,
        generated: Inspected,
        images: ImageSet,
        made: ImageSet,
        classifier: Classifier,
    ) -> list[Shown]:
        """Beside each named generated image a named training image, or the nearest one where none is named."""
        rows = list[Shown]()
        for one in found:
            named = bool(one.training.any())
            pool = one.training_rows[one.training] if named else one.training_rows
            which = "the suspects" if named else "its class, none of which is a suspect"
            for at in one.generated_rows[one.generated][: self.pictures - len(rows)]:
                far = np.linalg.norm(training.features[pool] - generated.features[at], axis=1)
                near = int(pool[int(far.argmin())])
                rows.append(
                    Shown(
                        name=generated.ids[at],
                        text=f"{generated.ids[at]}; nearest training image of {which}: {training.ids[near]}",
                        pictures={
                            "generated": _picture(made, int(generated.rows[at]), classifier),
                            "training": _picture(images, int(training.rows[near]), classifier),
                        },
                    )
                )
        return rows


def _doubted(generated: Inspected, undrawn: Sequence[int], classifier: Classifier, *, left_out: bool) -> str:
    """What could not be judged among the generated images, or is to be viewed, for the end of a verdict."""
    if not generated.classes:
        return f"; the generated images could not be judged: no class has {FEWEST} usable ones"
    if not undrawn:
        return ""
    names = ", ".join(repr(classifier.class_names[label]) for label in undrawn[:3])
    others = f" and {len(undrawn) - 3} more" if len(undrawn) > 3 else ""
    seen = f"{names}{others}, which {classifier.name} sees there no more often than in images of the other classes"
    if left_out:
        return f"; not judged among the generated images: {seen}"
    return f"; view the generated images of {seen}: they may show another class, as poison does, or be badly drawn"


def _picture(images: ImageSet, row: int, classifier: Classifier) -> Tensor:
    return to_unit(classifier.preparation.pixels(images.read(row))).cpu()


def _lost(name: str, classifier: Classifier, *views: Inspected) -> Evidence:
    lost = [(key, why, view) for view, seen in zip(VIEWS, views, strict=False) for key, why in seen.rejected]
    return Evidence.of(
        [key for key, _, _ in lost],
        setting=name,
        model=classifier.name,
        status="rejected",
        reason=[why for _, why, _ in lost],
        extra={"view": pa.array([view for _, _, view in lost], pa.string())},
    )


def _auroc(training: Inspected, images: ImageSet) -> Mapping[str, float]:
    """How well spectral signatures find the planted images, where the set says which these are."""
    planted = planted_of(images, "trigger")
    judged = list(training.classes.values())  # images of other classes have no score, which is no low score
    scores = np.concatenate([one.scores for one in judged]) if judged else np.zeros(0)
    truth = np.array([planted[training.rows[at]] is not None for one in judged for at in one.rows], dtype=np.bool_)
    return {"auroc among training images": auroc(truth, scores)} if truth.any() and not truth.all() else {}


def _present(labels: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    return [names[one] for one in sorted(set(labels[labels >= 0].tolist()))]


def _statistic(found: Sequence[SuspectClass]) -> float | None:
    """Missing is no zero: where no generated image of a reported class is usable."""
    shares = [one.drawn for one in found if one.drawn is not None]
    return max(shares, default=None if found else 0.0)


def _sentence(one: SuspectClass, names: Sequence[str]) -> str:
    drawn = (
        "no generated image of it is usable"
        if one.drawn is None
        else (f"in {one.drawn:.0%} of {len(one.generated)} generated ones")
    )
    trained = f"{one.training.mean():.0%} of {len(one.training)} training images"
    return f"suspicious: class {names[one.label]!r}, among its {one.seen_in}: the pattern is in {trained} and {drawn}"
