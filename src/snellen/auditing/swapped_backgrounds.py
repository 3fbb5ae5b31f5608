"""Objects before other backgrounds: which are lent to which image, and the model's decisions on the composites."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import before_backgrounds, shows_object, without_object
from snellen.methods.explanations.filling import blurred_filling
from snellen.methods.explanations.maps import pixel_map
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore
from snellen.models.segmenters.object_masks import ObjectMasks

#: Images that lend their backgrounds, at most: they stay in memory.
LENDERS = 64


@dataclass(frozen=True, eq=False)
class Swapped:
    """What came out for one image.

    Attributes:
        row: its position among the known images.
        own: decisions before its own background, moved: int64 (s,), −1 where scores are not finite.
        other: decisions before backgrounds of other classes, (s,).
        lent: classes of those, (s,).
        same: decisions before backgrounds of other images of its class, (t,), t ≤ s.
        grounds: which of the lent backgrounds they are, the other classes first, (s + t,).
        area: share of the pixels that lie outside of the object.
        outside: share of the evidence for the decision that lies there; NaN where there is none or none was measured.
        shown: number of the first other background before which it is wrong, with the composite (3, h, w); None unless
            it is right as it is and before its own at every place.
    """

    row: int
    own: Tensor
    other: Tensor
    lent: Tensor
    same: Tensor
    grounds: Tensor
    area: float
    outside: float
    shown: tuple[int, Tensor] | None


@dataclass(eq=False)
class Lenders:
    """Backgrounds without their objects, with the classes of the images that they are of."""

    backgrounds: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, known: PerImage, rows: NDArray[np.int64], objects: ObjectMasks, rng: Randomness) -> Lenders:
        """Those of some images, class by class in turn, in an order that is drawn."""
        draws = rng.for_examples(known.ids).uniform("lender", ()).numpy()
        turns: dict[int, list[int]] = {}
        for row in sorted(rows.tolist(), key=lambda row: (draws[row], known.ids[row])):
            turns.setdefault(int(known.labels[row]), []).append(row)
        lenders = cls()
        for turn in range(max(map(len, turns.values()), default=0)):
            for label in sorted(turns):
                if turn < len(turns[label]) and len(lenders.labels) < LENDERS:
                    read = objects.read(known.ids[turns[label][turn]])
                    if read is not None and shows_object(read[1]):
                        lenders.backgrounds.append(without_object(*read))
                        lenders.labels.append(label)
                        lenders.ids.append(known.ids[turns[label][turn]])
        return lenders

    def drawn(self, row_id: str, label: int, size: torch.Size, count: int, rng: Randomness) -> tuple[list[int], ...]:
        """Positions of backgrounds of other classes, and of other images of the class, of this size.

        They are drawn for one image, and fewer where few are.
        """
        draws = rng.uniform("lenders", (len(self.ids) + 1,))[0, : len(self.ids)]  # without lenders, too, one is drawn
        fitting = [
            place
            for place in draws.argsort().tolist()
            if self.backgrounds[place].shape == size and self.ids[place] != row_id
        ]
        others = [place for place in fitting if self.labels[place] != label]
        return others[:count], [place for place in fitting if self.labels[place] == label][:count]


def swapped(
    row: int, known: PerImage, objects: ObjectMasks, lenders: Lenders, classifier: Classifier, rng: Randomness,
    *, swaps: int, evaluations: int,
) -> Swapped | None:  # fmt: skip
    """Put one object before other backgrounds and before its own, and ask the model; None where that cannot be done.

    Args:
        row: position among the known images; it has a label.
        known: the images.
        objects: reads image and mask.
        lenders: of backgrounds.
        classifier: the model.
        rng: of the check, not bound.
        swaps: backgrounds of each kind, at most.
        evaluations: passes that measure where the evidence lies; 0: it is not measured.
    """
    read = objects.read(known.ids[row])
    if read is None or not shows_object(read[1]):
        return None
    (image, mask), bound = read, rng.for_examples([known.ids[row]])
    chosen, alike = lenders.drawn(known.ids[row], int(known.labels[row]), image.shape, swaps, bound)
    if not chosen:
        return None
    count = len(chosen)
    steps = torch.stack(
        [bound.integers(name, (swaps,), 0, side)[0] for name, side in zip("yx", mask.shape, strict=True)], 1
    )
    kinds = [without_object(image, mask).expand(count, -1, -1, -1)]
    kinds += [torch.stack([lenders.backgrounds[place] for place in places]) for places in (chosen, alike) if places]
    composites = torch.cat(
        [
            before_backgrounds(
                image.expand(len(kind), -1, -1, -1), mask.expand(len(kind), -1, -1), kind, steps[: len(kind)]
            )
            for kind in kinds
        ]
    )
    with torch.no_grad():
        scores = classifier(composites.to(classifier.device))
    decided = torch.where(scores.isfinite().all(1), classifier.predict(scores), -1).cpu()
    label, (own, other, same) = int(known.labels[row]), decided.split([count, count, len(alike)])
    wrong = (other != label).nonzero().flatten().tolist() if known.correct[row] and bool((own == label).all()) else []
    target = int(known.predictions[row])
    return Swapped(
        row=row,
        own=own,
        other=other,
        lent=torch.tensor([lenders.labels[place] for place in chosen]),
        same=same,
        grounds=torch.tensor(chosen + alike),
        area=1 - float(mask.double().mean()),
        outside=evidence_outside(classifier, image, mask, target, evaluations) if evaluations else float("nan"),
        shown=(wrong[0], composites[count + wrong[0]]) if wrong else None,
    )


def evidence_outside(classifier: Classifier, image: Tensor, mask: Tensor, target: int, evaluations: int) -> float:
    """Share of the evidence for a class that lies outside of the object; NaN where nothing speaks for it.

    Evidence is the positive part of Partition SHAP, in which removed blocks show the image out of focus.

    Args:
        classifier: the model.
        image: (3, h, w) in [0, 1].
        mask: bool (h, w), the object.
        target: the class.
        evaluations: passes, at least 2.
    """
    images = image[None].to(classifier.device)
    of = TargetScore(classifier, torch.tensor([target]), "score" if classifier.output == "labels" else "probability")
    found = partition_shap(of, images, blurred_filling(images), budget=max(evaluations, 2))
    speaks = pixel_map(found.maps)[0].cpu().double().clamp(min=0)
    total = float(speaks.sum())
    return float(speaks[~mask].sum()) / total if found.status[0] == "ok" and total > 0 else float("nan")
