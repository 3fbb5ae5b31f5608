"""What each verb returns. All of them turn into :class:`~snellen.core.evidence.Evidence`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence

#: The place of an attack that changes images.
PIXELS = "pixels"

#: Reasons in the evidence of an attack, beside the statuses of :class:`Attacked`.
ZERO_GRADIENT = "not found, zero gradient"
NOT_FINITE = "scores are not finite inside the attack"
NOT_SEEN = "the object is not seen"


@dataclass(frozen=True, eq=False)
class Attacked:
    """Result of an attack on n images.

    Attributes:
        images: (n, 3, h, w) in [0, 1]; the *clean* image wherever the attack failed.
        success: bool (n,), judged by the criterion on the returned image, which lies in the attack's allowed set.
        distance: float (n,), between returned and clean image in the attack's own norm; 0 where it failed.
        queries: int (n,), images of this example sent through the classifier.
        gradients: int (n,), gradients taken for this example.
        scores: (n, k) of the returned image; NaN where none were finite.
        status: per image ``found``; ``already`` (the clean image meets the criterion and is returned); ``not found``;
            or ``not finite``: without a success, the search of this image met scores, an objective or a gradient that
            are NaN or infinite and ended there, so it says nothing about robustness.
        zero_gradient: bool (n,), at least one step was taken and the gradient was exactly zero at every one, in all
            restarts: the search was blind. A failure there is a sign of masked gradients, not of robustness.
        found_by: of an attack that is made of others, which of them broke each image; "clean" where the image met the
            criterion already, empty where it stands. An empty tuple for any other attack.
        place: what was changed: ``pixels``, or a layer, in words. At a layer ``images`` are always the clean ones:
            success, scores and distance are those of the classifier with ``changes`` added there.
        changes: (n, ...) what was added at a layer, zero where the attack did not succeed; None for images.

    A search that keeps the last iterates (``keep="last"`` of :func:`snellen.methods.attacks.perturbation.perturb`) is
    the exception: images are the last iterates (of ``not finite`` images the last finite ones), successful or not,
    distance and scores are theirs, success is judged on them, and no status is ``already``: an image that was
    misclassified from the start is ``found`` if its last iterate is misclassified too, else ``not found``.
    """

    images: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    gradients: Tensor
    scores: Tensor
    status: tuple[str, ...]
    zero_gradient: Tensor
    found_by: tuple[str, ...] = ()
    place: str = PIXELS
    changes: Tensor | None = None

    @property
    def spent(self) -> Spent:
        """Total over the images."""
        return Spent(queries=int(self.queries.sum()), gradients=int(self.gradients.sum()))

    @property
    def reasons(self) -> tuple[str, ...]:
        """The status of each image in the words of evidence, which divide two of them further."""
        return tuple(
            NOT_FINITE if status == "not finite" else ZERO_GRADIENT if status == "not found" and blind else status
            for status, blind in zip(self.status, self.zero_gradient.tolist(), strict=True)
        )

    @property
    def facts(self) -> tuple[str, ...]:
        """What else must be known of the search as a whole, in words."""
        return ()

    def evidence(
        self,
        classifier: Classifier,
        example_ids: Sequence[str],
        labels: Tensor,
        *,
        setting: str,
        unit_ids: Sequence[str | None] | None = None,
    ) -> Evidence:
        """One row per image: prediction after the attack, distance as value, the attack's status as reason.

        Two statuses are divided further. ``not found`` becomes the reason "not found, zero gradient" where every
        gradient was zero. ``not finite`` becomes a row of status ``failed`` with the reason "scores are not finite
        inside the attack", without prediction and value: such an image counts neither as right nor as broken.
        """
        failed = [status == "not finite" for status in self.status]
        predictions, distances = classifier.predict(self.scores).tolist(), self.distance.tolist()
        return Evidence.of(
            example_ids,
            setting=setting,
            model=classifier.name,
            unit_ids=unit_ids,
            label=labels.tolist(),
            prediction=[None if f else prediction for f, prediction in zip(failed, predictions, strict=True)],
            value=[None if f else distance for f, distance in zip(failed, distances, strict=True)],
            status=["failed" if f else "ok" for f in failed],
            reason=list(self.reasons),
            spent=self.spent,
            control="the same images unchanged (setting 'clean')",
        )


@dataclass(frozen=True, eq=False)
class Edited:
    """Result of an edit of n images whose objects are known.

    Attributes:
        images: float (n, 3, h, w) in [0, 1]; the *unedited* image wherever the status is not ``ok``.
        masks: bool (n, h, w), where the objects are afterwards; the given masks wherever the status is not ``ok``.
        status: per image ``ok``, or in words why it cannot be edited.
    """

    images: Tensor
    masks: Tensor
    status: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AttackedViews:
    """Result of an attack on the viewpoints of n objects: a distribution for each, judged by s fresh views of it.

    Attributes:
        objects: their ids.
        means: of the k components of each object's mixture, unbounded, (n, k, 6).
        deviations: their standard deviations, (n, k, 6).
        weights: of the components, (n, k); (n, k, 6) where every coordinate has a mixture of its own.
        viewpoints: drawn of the mixtures after the search, float64 (n, s, 6): degrees, radii of the object.
        success: bool (n, s), the criterion is met there; never where the object is not seen.
        blank: bool (n, s), views in which the object is not seen: they count neither way.
        scores: of these views, (n, s, c); NaN where they were not measured or were not finite.
        entropy: of the mixtures of viewpoints, nats, (n,); NaN without one.
        iterations: int (n,), steps of each search.
        renders: int (n,), views that were rendered for each object, the fresh ones included; each that shows the
            object was sent through the classifier once.
        blanks: int (n,), how many of them did not show the object.
        status: per object ``found`` (at least half of the fresh views that show it meet the criterion), ``not found``,
            ``blank`` (no view shows it), or ``not finite`` (the search met scores that are NaN or infinite and ended
            there: it shows nothing).
    """

    objects: tuple[str, ...]
    means: Tensor
    deviations: Tensor
    weights: Tensor
    viewpoints: Tensor
    success: Tensor
    blank: Tensor
    scores: Tensor
    entropy: Tensor
    iterations: Tensor
    renders: Tensor
    blanks: Tensor
    status: tuple[str, ...]

    @property
    def success_rate(self) -> Tensor:
        """Share of the fresh views that show the object in which the criterion is met, (n,); NaN where none counts."""
        known = torch.tensor([status in ("found", "not found") for status in self.status])
        shown = (~self.blank).sum(1).double()
        return torch.where(known, self.success.sum(1) / shown, torch.nan)

    @property
    def spent(self) -> Spent:
        """Total over the objects; nothing has a gradient."""
        return Spent(queries=int((self.renders - self.blanks).sum()))

    def evidence(self, classifier: Classifier, labels: Tensor, *, setting: str) -> Evidence:
        """One row per fresh view, ``OBJECT/NUMBER``, whose unit is the object.

        A view without the object is a row of status ``rejected``; all of an object whose search met scores that are
        not finite are ``failed``. Neither has a prediction.
        """
        count = self.viewpoints.shape[1]
        predictions = classifier.predict(self.scores.flatten(0, 1)).tolist()
        reasons = [
            NOT_SEEN if blank or status == "blank" else NOT_FINITE if status == "not finite" else status
            for status, row in zip(self.status, self.blank.tolist(), strict=True)
            for blank in row
        ]
        states = {NOT_SEEN: "rejected", NOT_FINITE: "failed"}
        return Evidence.of(
            [f"{owner}/{number:04d}" for owner in self.objects for number in range(count)],
            setting=setting,
            model=classifier.name,
            unit_ids=[owner for owner in self.objects for _ in range(count)],
            label=[label for label in labels.tolist() for _ in range(count)],
            prediction=[None if r in states else p for r, p in zip(reasons, predictions, strict=True)],
            status=[states.get(reason, "ok") for reason in reasons],
            reason=reasons,
            spent=self.spent,
            control="natural views of the same objects (setting 'natural')",
        )


@dataclass(frozen=True, eq=False)
class Explained:
    """Result of an explanation of n images; rows of images without an explanation hold NaN, nothing, or empty text.

    Attributes:
        targets: int64 (n,), the class whose score is explained.
        status: per image ``ok``, or in words why there is no explanation ("no evidence: …").
        maps: evidence at each pixel by name, float (n, h, w), signed, in units of the explained score.
        regions: parts of the images by name, bool (n, h, w).
        points: one place of each image, float (n, 2), x to the right and y down; integers name pixels, (0, 0) is the
            centre of the first one. None where the method points at nothing.
        parts: names of p parts or concepts, the same for all images.
        scores: float (n, p), contribution of each part to the explained score; None without parts.
        edits: the images with something removed or kept, by what that is in words: (n, 3, h, w) in [0, 1] each.
        figures: how far the explanation holds, by name, float (n,) each.
        controls: the same figure for a random part of equal size, (n,) each; its names are names of figures.
        text: one sentence for each image, where the method speaks.
        records: per image, as JSON values, what else must be kept: prompts, rules, candidates.
        assumptions: what the explanation rests on, in words.
        spent: on all of it.
    """

    targets: Tensor
    status: tuple[str, ...]
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    points: Tensor | None = None
    parts: tuple[str, ...] = ()
    scores: Tensor | None = None
    edits: Mapping[str, Tensor] = field(default_factory=dict)
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    controls: Mapping[str, Tensor] = field(default_factory=dict)
    text: tuple[str, ...] | None = None
    records: tuple[Mapping[str, Any], ...] = ()
    assumptions: tuple[str, ...] = ()
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True, eq=False)
class Described:
    """Result of a description of p parts of a model, such as units of its layers.

    Attributes:
        parts: their names, each once.
        status: per part ``ok``, or in words why it has no description.
        text: one sentence for each part; empty where there is none.
        pictures: per part uint8 (k, 3, h, w), the images that show it, as they are to be shown.
        sources: per part the ids of these images.
        heads: per part what stands above each picture; left out, the ids.
        figures: by name, float (p,) each; NaN where there is none.
        controls: the same figure for something random of equal size; its names are names of figures.
        records: per part, as JSON values, what else must be kept.
        rejected: id and reason of each image that could not be used.
        assumptions: what the description rests on, in words.
        spent: on all of it.
    """

    parts: tuple[str, ...]
    status: tuple[str, ...]
    text: tuple[str, ...]
    pictures: tuple[Tensor, ...] = ()
    sources: tuple[tuple[str, ...], ...] = ()
    heads: tuple[tuple[str, ...], ...] = ()
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    controls: Mapping[str, Tensor] = field(default_factory=dict)
    records: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    assumptions: tuple[str, ...] = ()
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True, eq=False)
class Certified:
    """Result of a certification of n images.

    Attributes:
        prediction: int (n,), the certified class, −1 where the method abstains.
        radius: float (n,), in the norm that ``assumptions`` names, [0, 1] pixel units; 0 where it abstains.
        confidence: probability that all statements about one image are true.
        assumptions: what the proof rests on, in words.
        votes: raw counts (n, k).
    """

    prediction: Tensor
    radius: Tensor
    confidence: float
    assumptions: tuple[str, ...]
    votes: Tensor


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures of one scanned item, to be seen side by side.

    Attributes:
        name: of the item: id of an image, name of a class.
        text: the line below them.
        pictures: (3, h, w) in [0, 1] of one size, by what each is, in order. All rows of a scan show the same.
    """

    name: str
    text: str
    pictures: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Scanned:
    """Result of a scan.

    Attributes:
        evidence: one row per scanned item (class, image, region), the score as value; what could not be used is a row
            of status ``rejected`` with the reason. Its assumptions say what the verdict rests on.
        statistic: the figure that the verdict rests on; None where nothing could be measured.
        verdict: guarded words: "no outlier within budget", never "clean".
        figures: further figures, by name in words or dotted; an interval is two of them, ``NAME.low`` and
            ``NAME.high``.
        pictures: what was recovered (trigger, clean estimate, mask), a row for each item shown.
    """

    evidence: Evidence
    statistic: float | None
    verdict: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    pictures: Sequence[Shown] = ()


@dataclass(frozen=True, eq=False)
class Searched:
    """Result of a search: the best design, its value, and every evaluation in order."""

    best: Any
    value: float
    history: Sequence[tuple[Any, float]]
    spent: Spent = field(default_factory=Spent)
