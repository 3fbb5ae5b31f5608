"""CDD-RED: what was added to an image, and what the image was before, from the image alone.

Gong, Yao et al., "Reverse engineering of imperceptible adversarial image perturbations", ICLR 2022, arXiv 2203.14145:
x_RED = D(x'), δ_RED = x' − x_RED, by a denoiser that the recipe ``perturbation_denoiser`` trains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

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
from snellen.data.references import load_images
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.metrics.intervals import clopper_pearson
from snellen.models.residual_denoiser import LoadedDenoiser, load_denoiser
from snellen.systems.perturbation_estimation.estimate import Decided, decided, evidence_of, red

#: What progress calls it.
TASK = "estimating perturbations"

#: How the missing denoiser is made, in one command.
HOW = (
    "needs a denoiser (--denoiser artifact:FOLDER). Train one on images like these and classifiers of your own: "
    "snellen train perturbation-denoiser IMAGES --surrogate MODEL --victims MODEL --out FOLDER"
)

#: Why an image is not scanned whose estimate or scores cannot be used.
_ESTIMATE, _SCORES = (f"{what} not finite (NaN or infinity)" for what in ("the estimate is", "the model's scores are"))


@dataclass
class _Found:
    """What was measured of images, why others could not be used, and the few that are shown."""

    ids: list[str] = field(default_factory=list)
    rows: list[Decided] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    shown: list[tuple[str, Decided, Tensor, Tensor]] = field(default_factory=list)

    def show(self, count: int, example_id: str, row: Decided, seen: Tensor, estimate: Tensor) -> None:
        """Keep the pictures of an image while it is among those whose decision changed, or that changed most."""
        self.shown.append((example_id, row, seen.cpu(), estimate.cpu()))
        self.shown.sort(key=lambda one: (not one[1].changed, -one[1].delta_l2, one[0]))
        del self.shown[count:]

    @property
    def changed(self) -> int:
        """How many images have an estimate that is decided otherwise."""
        return sum(bool(row.changed) for row in self.rows)


class Perturbation(Method):
    """Split images into an estimate of the clean image and an estimate of the perturbation.

    With a classifier, its decisions about the image and about the estimate are reported. An estimate that is decided
    otherwise is a sign of an attack and no proof: denoisers change decisions about benign images too, and how often is
    measured on images that nobody attacked (``benign``).

    >>> Perturbation().missing()[:16]
    'needs a denoiser'
    """

    name: ClassVar[str] = "perturbation"
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    denoiser: str | None = Field(
        None, description="artifact:FOLDER of a denoiser that the recipe perturbation-denoiser trained"
    )
    benign: str | None = Field(
        None, description="reference of images that nobody attacked, on which false alarms are counted"
    )
    clamp: bool = Field(
        True, description="cut the estimate to [0, 1], so that it can be saved; the published evaluation does not"
    )
    batch_size: int = Field(32, ge=1, description="images in one pass")
    pictures: int = Field(24, ge=0, description="images whose estimates are kept as pictures, at most")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no denoiser, or not one decision an image."""
        if self.denoiser is None:
            return HOW
        if classifier is not None and classifier.task not in ("single", "ordinal"):
            return f"compares one decision an image, and {classifier.name} is of the task {classifier.task!r}"
        return super().missing(classifier, images)

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of the denoiser and of the benign images, which distinguish another scan from this one."""
        found = {} if self.denoiser is None else {"denoiser": load_denoiser(self.denoiser).card.sha256}
        return found if self.benign is None else {**found, "benign": load_images(self.benign).fingerprint()}

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan images; nothing is random.

        Returns:
            A row for each image, see :func:`snellen.systems.perturbation_estimation.estimate.evidence_of`. The
            statistic is the share of images whose estimate is decided otherwise; without a classifier, the mean length
            of δ_RED.

        Raises:
            InputError: no denoiser, one that cannot be read, or benign images that cannot be used, or without a
                classifier whose false alarms they could show.
        """
        reason = self.missing(classifier, images)
        if reason is not None:
            raise InputError(f"{self.name} {reason}")
        if self.benign is not None and classifier is None:
            raise InputError(
                f"{self.name} counts false alarms on benign images by the decisions of a classifier: name "
                f"it before the images, or leave --benign out"
            )
        assert self.denoiser is not None
        loaded = load_denoiser(self.denoiser, None if classifier is None else classifier.device)
        benign = None
        if self.benign is not None:
            benign = self._looked_at(load_images(self.benign), loaded, classifier, 0, Silent())
            if not benign.rows:
                raise InputError(f"none of the images of {self.benign} (--benign) could be used")
        listener = progress or Silent()
        listener.begin(TASK, len(images))
        found = self._looked_at(images, loaded, classifier, self.pictures, listener)
        listener.finish(TASK)
        if not found.rows:
            return Scanned(self._evidence(found, classifier, ()), None, "no image could be used")
        figures: dict[str, float | None] = {
            "images": float(len(found.rows)),
            "delta_l2.mean": sum(row.delta_l2 for row in found.rows) / len(found.rows),
            "delta_linf.largest": max(row.delta_linf for row in found.rows),
        }
        statistic, verdict = figures["delta_l2.mean"], "what decisions do is not known: no classifier was given"
        if classifier is not None:
            figures |= _share("changed", found) if len(found.rows) > 1 else _alone(found.rows[0])
            figures |= {} if benign is None else _share("false_alarms", benign)
            statistic, verdict = found.changed / len(found.rows), _verdict(found, benign, classifier)
        return Scanned(
            evidence=self._evidence(found, classifier, self._assumptions(loaded, benign, classifier)),
            statistic=statistic,
            verdict=verdict,
            figures=figures,
            pictures=[_shown(*one, classifier) for one in found.shown],
        )

    def _looked_at(
        self, images: ImageSet, loaded: LoadedDenoiser, classifier: Classifier | None, count: int, progress: Progress
    ) -> _Found:
        found = _Found()
        labels = images.labels.tolist() if images.has_labels else [-1] * len(images)
        units = images.column("unit_id")
        preparation = loaded.preparation if classifier is None else classifier.preparation
        device = next(loaded.network.parameters()).device
        for batch in prepared_batches(images, preparation, self.batch_size):
            found.rejected += batch.rejected
            progress.advance(TASK, len(batch.ids) + len(batch.rejected))
            if not batch.ids:
                continue
            seen = to_unit(batch.pixels).to(device)
            estimate = red(loaded.network, seen, clamp=self.clamp).clean
            for at, row in enumerate(decided(seen, estimate, classifier)):
                example_id, place = batch.ids[at], batch.indices[at]
                if not row.usable:
                    found.rejected.append((example_id, _SCORES if isfinite(row.delta_l2) else _ESTIMATE))
                    continue
                found.ids.append(example_id)
                found.rows.append(row)
                found.units.append(None if units[place] is None else str(units[place]))
                found.labels.append(None if labels[place] < 0 else int(labels[place]))
                found.show(count, example_id, row, seen[at], estimate[at])
        return found

    def _evidence(self, found: _Found, classifier: Classifier | None, assumptions: tuple[str, ...]) -> Evidence:
        model = "" if classifier is None else classifier.name
        measured = evidence_of(
            found.rows,
            found.ids,
            setting=self.name,
            model=model,
            unit_ids=found.units,
            labels=found.labels,
            assumptions=assumptions,
        )
        lost = Evidence.of(
            [example_id for example_id, _ in found.rejected],
            setting=self.name,
            model=model,
            status="rejected",
            reason=[why for _, why in found.rejected],
        )
        return Evidence.merge([measured, lost]) if found.rejected else measured

    def _assumptions(
        self, loaded: LoadedDenoiser, benign: _Found | None, classifier: Classifier | None
    ) -> tuple[str, ...]:
        metrics = loaded.card.metrics
        told = [
            "an estimate: what the denoiser takes away need not be what an attacker added; patches, and changes larger "
            "than those it was trained on, are beyond it",
            f"estimates are {'' if self.clamp else 'not '}cut to [0, 1]; denoiser {loaded.card.sha256[:16]}",
        ]
        if "val.pa_benign" in metrics:
            told.append(
                f"on held out pairs of its training, {metrics['val.pa_benign']:.0%} of the estimates had the clean "
                f"image's decision, and {metrics['val.pa_adversarial']:.0%} of the perturbations, pasted back, the "
                f"attacked image's"
            )
        if benign is None and "val.false_alarms" in metrics:
            asked = "MODEL before the images, and " if classifier is None else ""
            told.append(
                f"false alarms: in its training it changed the decision about {metrics['val.false_alarms']:.1%} of "
                f"{metrics.get('val.images', 0):.0f} held out images that nobody attacked, before the classifiers of "
                f"that training; count them before yours with {asked}--benign IMAGES"
            )
        if classifier is not None and classifier.preparation.size != loaded.preparation.size:
            told.append(
                f"the denoiser was trained on images of {loaded.preparation.size} (height, width), and this classifier "
                f"takes {classifier.preparation.size}"
            )
        return tuple(told)


def _share(name: str, found: _Found) -> dict[str, float | None]:
    """A share with its 95 % interval."""
    low, high = clopper_pearson(found.changed, len(found.rows))
    return {f"{name}.share": found.changed / len(found.rows), f"{name}.low": low, f"{name}.high": high}


def _alone(row: Decided) -> dict[str, float | None]:
    """The verdict on a single image, for which a share says nothing."""
    return {
        "confidence": row.confidence,
        "estimate_confidence": row.estimate_confidence,
        "score_distance": row.score_distance,
    }


def _verdict(found: _Found, benign: _Found | None, classifier: Classifier) -> str:
    """What the decisions say, in guarded words."""
    count = len(found.rows)
    if count == 1:
        told, also = _verdict_of_one(found.rows[0], classifier), "; the decision changes for"
    else:
        told = f"the estimate is decided otherwise than the image for {found.changed} of {count} images"
        also = ", and for"
    if benign is None:
        return f"{told}; an estimate, with false alarms"
    told += f"{also} {benign.changed} of {len(benign.rows)} that nobody attacked"
    if not found.changed:
        return told
    more = clopper_pearson(found.changed, count).low > clopper_pearson(benign.changed, len(benign.rows)).high
    return f"{told}: {'more' if more else 'not clearly more'} than false alarms explain"


def _verdict_of_one(row: Decided, classifier: Classifier) -> str:
    before, after = (_named(at, classifier) for at in (row.prediction, row.estimate_prediction))
    if row.changed:
        return (
            f"the image is decided as {before}, the estimate without the perturbation as {after}: a sign of an attack"
        )
    return f"image and estimate are both decided as {before}: no sign of an attack in the decision"


def _named(at: int | None, classifier: Classifier) -> str:
    return "nothing" if at is None else repr(classifier.class_names[at])


def _shown(example_id: str, row: Decided, seen: Tensor, estimate: Tensor, classifier: Classifier | None) -> Shown:
    picture, factor = magnified(seen - estimate)
    told = f"L2 {row.delta_l2:.3g}, L-inf {row.delta_linf:.3g}, {factor:.3g}x  {example_id}"
    if classifier is not None:
        told = f"{_named(row.prediction, classifier)} -> {_named(row.estimate_prediction, classifier)}: {told}"
    return Shown(
        name=example_id,
        text=told,
        pictures={"image": seen, "estimate": estimate.clamp(0, 1), "perturbation, magnified": picture},
    )
