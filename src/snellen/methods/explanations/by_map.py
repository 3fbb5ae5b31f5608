"""What explanations that give one map an image have in common: how far the map holds, beside the same map moved."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.method import Method, Need
from snellen.core.outcomes import Explained as Explanation
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.faithfulness.removal import removal_curves
from snellen.methods.explanations.filling import FillName, filling
from snellen.methods.explanations.maps import moved, strongest
from snellen.methods.explanations.score import CHUNK, Explained, TargetScore


class MapExplanation(Method):
    """Attribute the explained score to pixels; subclasses say how."""

    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})

    #: Whether :meth:`attribute` takes None for the classes that the images are taken for, and spends no pass on them.
    decides: ClassVar[bool] = False

    of: Explained = Field("probability", description="what is explained: the classifier's score, or its probability")
    removed: FillName = Field(
        "blur", description="what shows in place of removed pixels when deletion and insertion are measured"
    )
    curve_steps: int = Field(16, ge=1, description="points of the deletion and the insertion curve")
    chunk: int = Field(CHUNK, ge=1, description="images in one pass; sets memory, changes no map but for rounding")

    @abstractmethod
    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness) -> Attributed:
        """Attribute the scores of ``targets`` (n,) to the pixels of prepared images (n, 3, h, w) in [0, 1].

        The map alone, without the figures of :meth:`explain`: what other methods build on.
        """

    def explain(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Explanation:
        """Attribute, and measure deletion and insertion of the map and of the same map moved at random.

        Args:
            classifier: what is explained.
            images: prepared, (n, 3, h, w) in [0, 1].
            targets: int64 (n,), classes whose score is explained.
            rng: draws noise, masks and the place of the control.

        Returns:
            map ``evidence``; the strongest pixel as point; figures ``deletion`` and ``insertion``, areas under curves
            of the target's probability, with controls; ``completeness_gap`` where the map should add up, |sum − change
            of the explained score|.
        """
        bound = (rng or Randomness(0)).bind(len(images))
        with classifier.counting() as spent:
            found = self.attribute(classifier, images, targets, rng=bound)
            score = TargetScore(classifier, targets, "probability", self.chunk)
            filled = filling(self.removed, images)
            own, control = (
                removal_curves(score, images, filled, maps, steps=self.curve_steps)
                for maps in (found.pixels, moved(found.pixels, bound.child("control")))
            )
        figures = {"deletion": own.deletion_area, "insertion": own.insertion_area}
        controls = {"deletion": control.deletion_area, "insertion": control.insertion_area}
        if not bool(found.base.isnan().all()):
            figures["completeness_gap"] = found.gap.abs()
        place = strongest(found.pixels, ties="centre").cpu().flip(1).double()
        return Explanation(
            targets=targets,
            status=found.status,
            maps={"evidence": found.pixels},
            points=torch.where(place < 0, torch.nan, place),
            figures=figures,
            controls=controls,
            assumptions=(
                f"the explained score is the {'probability' if self.of == 'probability' else 'score'} of the class",
                f"a removed pixel is a pixel filled in ({self.removed}); another filling gives other figures",
                "the control is the same map pushed around the edges by a random step",
            ),
            spent=spent(),
        )

    def _score(self, classifier: Classifier, targets: Tensor) -> TargetScore:
        return TargetScore(classifier, targets, self.of, self.chunk)
