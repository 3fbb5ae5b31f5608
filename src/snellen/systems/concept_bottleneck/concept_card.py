"""What a concept bottleneck goes by, concept by concept: its weight in each class, its images, and whether its score
works.

The global side of :mod:`snellen.systems.concept_bottleneck.concept_contributions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Described
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck
from snellen.systems.concept_bottleneck.concept_quality import NOISE, concept_areas

#: Images that go through the model together.
_BATCH = 64


class ConceptCard(Method):
    """What each concept speaks for and against, with the images that show it most.

    Where the column ``attributes`` records whether images show a concept, under its phrase (``{"striped": 1}``), the
    area under the ROC curve says whether the score detects it.

    >>> ConceptCard().shown
    4
    """

    name: ClassVar[str] = "concept_card"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers"})

    shown: int = Field(4, ge=1, le=16, description="images of each concept that are shown, those of the highest score")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a classifier that decides by no concepts."""
        if classifier is not None and not isinstance(classifier.module, ConceptBottleneck):
            return (
                f"describes classifiers that decide by concepts, and {classifier.name} is none; make one with "
                f"snellen train concept-bottleneck"
            )
        return super().missing(classifier, images)

    def describe(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> Described:
        """Describe every concept.

        Returns:
            ``figures``: ``influence``, the mean size of what the concept adds to the score of the decision, in logits;
            ``auroc`` where attributes are known.

        Raises:
            UnsupportedError: a classifier that decides by no concepts.
            InputError: no image can be used.
        """
        bottleneck = classifier.module
        if not isinstance(bottleneck, ConceptBottleneck):
            raise UnsupportedError(f"{self.name} describes what decides by concepts; {classifier.name} does not")
        phrases, head = bottleneck.phrases, bottleneck.head
        with classifier.counting() as spent:
            scores, added, rows, rejected = _scored(classifier, images, bottleneck, progress)
        areas = concept_areas(_truth(images, rows, phrases), scores.numpy()).each
        order = scores.argsort(dim=0, descending=True, stable=True)[: self.shown].T.tolist()
        pictures = _pictures(classifier, images, [[rows[place] for place in row] for row in order])
        weights = head.linear.weight.detach().cpu()
        influence = added.abs().mean(0)
        return Described(
            parts=phrases,
            status=tuple("ok" if bool(column.any()) else "the decision does not use it" for column in weights.T),
            text=tuple(
                _sentence(column.tolist(), classifier.class_names, area)
                for column, area in zip(weights.T, areas, strict=True)
            ),
            pictures=pictures,
            sources=tuple(tuple(images.ids[rows[place]] for place in row) for row in order),
            figures={"influence": influence} | ({} if np.isnan(areas).all() else {"auroc": torch.tensor(areas)}),
            records=tuple(
                {
                    "question": bottleneck.concepts.questions[place] if bottleneck.concepts.questions else None,
                    "weights": dict(zip(classifier.class_names, map(_rounded, column.tolist()), strict=True)),
                    "mean": _rounded(float(head.standardise.mean[place])),
                    "deviation": _rounded(float(head.standardise.deviation[place])),
                }
                for place, column in enumerate(weights.T)
            ),
            rejected=tuple(rejected.items()),
            assumptions=(
                "a weight is what one standard deviation of the score on training images adds to a class's logit",
                f"a score whose area is below {NOISE} is hardly better than a coin, whatever its phrase says",
            ),
            spent=spent(),
        )


def _scored(
    classifier: Classifier, images: ImageSet, bottleneck: ConceptBottleneck, progress: Progress | None
) -> tuple[Tensor, Tensor, list[int], dict[str, str]]:
    """Scores (n, N) and what they add to the decision (n, N), rows of the usable images, and the rejected ones."""
    listener, task = progress or Silent(), "scoring concepts"
    scores, added, rows, rejected = list[Tensor](), list[Tensor](), list[int](), dict[str, str]()
    listener.begin(task, len(images))
    for batch in prepared_batches(images, classifier.preparation, _BATCH):
        rejected |= dict(batch.rejected)
        if batch.ids:
            with torch.no_grad():
                logits, found = classifier.scores_and_features(to_unit(batch.pixels).to(classifier.device), "concepts")
                adds = bottleneck.head.contributions(found, logits.argmax(1))
            scores.append(found.cpu())
            added.append(adds.cpu())
            rows += list(batch.indices)
        listener.advance(task, len(batch.ids) + len(batch.rejected))
    listener.finish(task)
    if not scores:
        told = "; ".join(f"{one} ({reason})" for one, reason in list(rejected.items())[:3])
        raise InputError(f"none of the {len(images)} images of {images.name} can be used: {told}")
    return torch.cat(scores), torch.cat(added), rows, rejected


def _truth(images: ImageSet, rows: list[int], phrases: tuple[str, ...]) -> NDArray[np.int64]:
    """The concepts in the attributes: 1, 0, or −1 where they say nothing, int64 (n, N)."""
    attributes = images.column("attributes")
    truth = np.full((len(rows), len(phrases)), -1, dtype=np.int64)
    for place, row in enumerate(rows):
        told = _object(attributes[row])
        for column, phrase in enumerate(phrases):
            if told.get(phrase) in (0, 1):
                truth[place, column] = int(told[phrase])
    return truth


def _object(text: object) -> Mapping[str, Any]:
    try:
        found = json.loads(str(text)) if text is not None else {}
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _pictures(classifier: Classifier, images: ImageSet, wanted: list[list[int]]) -> tuple[Tensor, ...]:
    """Prepared images as bytes (k, 3, h, w) of each concept; every image is read once."""
    rows = sorted({row for of in wanted for row in of})
    found: dict[int, Tensor] = {}
    for batch in prepared_batches(images.select(rows), classifier.preparation, _BATCH):
        found |= {rows[at]: pixels for at, pixels in zip(batch.indices, batch.pixels, strict=True)}
    return tuple(torch.stack([found[row] for row in of]) for of in wanted)


def _sentence(weights: list[float], class_names: tuple[str, ...], area: float) -> str:
    """Classes that a concept speaks for and against, and whether its score detects it."""
    order = sorted(range(len(weights)), key=lambda place: -weights[place])
    most, least = order[0], order[-1]
    if weights[most] <= 0 and weights[least] >= 0:
        return "Not used."
    text = f"Speaks for {class_names[most]} ({weights[most]:+.2f})" if weights[most] > 0 else "Speaks for nothing"
    if weights[least] < 0:
        text += f", against {class_names[least]} ({weights[least]:+.2f})"
    if area < NOISE:
        text += f". Its score hardly tells whether an image shows it (area {area:.2f})"
    return f"{text}."


def _rounded(value: float) -> float:
    return round(value, 6)
