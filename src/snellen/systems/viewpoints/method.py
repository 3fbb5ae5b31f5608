"""GMVFool: a distribution of viewpoints from which a classifier fails (Ruan et al., ICCV 2023, arXiv 2307.10235).

max over p of E_{v ~ p}[L(f(R(v)), y)] + λ H(p), with p a mixture of Gaussians through a · tanh(u) + b, by queries
alone: neither renderer nor classifier gives a gradient. It is the distribution that is judged, by fresh samples, and
never the best view of the search. With one component this is ViewFool (Dong et al. 2022). Re-implemented from the
papers; the published code has no licence and was not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.errors import InputError, unknown_name
from snellen.core.method import Method, Need
from snellen.core.outcomes import AttackedViews
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.view_renderer import ViewRenderer
from snellen.data.worlds.viewpoints import COORDINATES, viewpoints_of
from snellen.systems.viewpoints.mixture import draw_unbounded, entropy_of
from snellen.systems.viewpoints.search import (
    FoundViewpoints,
    Judged,
    SearchSettings,
    judge,
    scores_of,
    search_viewpoints,
)
from snellen.systems.viewpoints.views import look_of

#: Draws by which the entropy of a finished mixture is estimated.
_ENTROPY_DRAWS = 500


class ViewpointAttack(SearchSettings, Method):
    """Search for distributions of viewpoints that fool a classifier, one for each object, and judge them by samples.

    >>> ViewpointAttack(components=1).popsize
    101
    """

    name: ClassVar[str] = "viewpoint_attack"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("viewpoint",)

    samples: int = Field(50, ge=1, le=10_000, description="fresh views of each found mixture, by which it is judged")

    def attack_views(
        self,
        classifier: Classifier,
        renderer: ViewRenderer,
        objects: Sequence[str],
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
        progress: Progress | None = None,
    ) -> AttackedViews:
        """Attack objects one after the other; what is found for one does not depend on the others.

        Args:
            classifier: gives scores of one label for each image; called forward only.
            renderer: draws the objects.
            objects: ids of n of them, at least one.
            labels: their classes, or the targets, int64 (n,).
            criterion: what counts as success; any mistake by default.
            rng: seeds the search; draws are bound to the objects' ids.
            progress: callback that receives progress updates.

        Raises:
            InputError: no object, one that the renderer does not have, one twice, or labels of another number.
            RejectedImageError: an object cannot be drawn; :func:`snellen.attack` leaves such out by name.
        """
        criterion, rng, listener = criterion or Misclassified(), rng or Randomness(0), progress or Silent()
        _check(renderer, objects, labels, len(classifier.class_names))
        rows = []
        listener.begin("viewpoints", len(objects))
        for object_id, label in zip(objects, labels.tolist(), strict=True):
            rows.append(self._attacked(classifier, renderer, object_id, label, criterion, rng.child("viewpoints")))
            listener.advance("viewpoints", 1, object_id)
        listener.finish("viewpoints")
        return self._together(objects, rows, len(classifier.class_names))

    def _attacked(
        self,
        classifier: Classifier,
        renderer: ViewRenderer,
        object_id: str,
        label: int,
        criterion: Criterion,
        rng: Randomness,
    ) -> tuple[FoundViewpoints, Tensor, Judged]:
        look = look_of(renderer, object_id, prepare=classifier.prepare, least_coverage=self.least_coverage)
        own = rng.for_examples([object_id])
        score = scores_of(classifier)
        found = search_viewpoints(look, score, label=label, criterion=criterion, settings=self, rng=own.child("search"))
        viewpoints = viewpoints_of(draw_unbounded(found.mixture, self.samples, own.child("fresh samples")))
        return found, viewpoints, judge(look, score, viewpoints, label=label, criterion=criterion)

    def _together(
        self, objects: Sequence[str], rows: Sequence[tuple[FoundViewpoints, Tensor, Judged]], class_count: int
    ) -> AttackedViews:
        found, viewpoints, judged = zip(*rows, strict=True)
        unseen = torch.full((self.samples, class_count), torch.nan)
        # The same noise for every object: entropies differ by their mixtures alone.
        noise = Randomness(0).bind(1).normal("entropy", (_ENTROPY_DRAWS, len(COORDINATES)))[0].double()
        return AttackedViews(
            objects=tuple(objects),
            means=torch.stack([one.mixture.means for one in found]),
            deviations=torch.stack([one.mixture.deviations for one in found]),
            weights=torch.stack([one.mixture.weights for one in found]),
            viewpoints=torch.stack(viewpoints),
            success=torch.stack([one.success for one in judged]),
            blank=torch.stack([one.blank for one in judged]),
            scores=torch.stack([one.scores if one.scores.shape[1] else unseen for one in judged]),
            entropy=torch.stack([entropy_of(one.mixture, noise) for one in found]),
            iterations=torch.tensor([one.iterations for one in found]),
            renders=torch.tensor([one.renders + self.samples for one in found]),
            blanks=torch.tensor([f.blanks + int(j.blank.sum()) for f, j in zip(found, judged, strict=True)]),
            status=tuple(_status(f, j) for f, j in zip(found, judged, strict=True)),
        )


def _status(found: FoundViewpoints, judged: Judged) -> str:
    if found.ended == "not finite" or not judged.finite:
        return "not finite"
    shown = int((~judged.blank).sum())
    if not shown:
        return "blank"
    return "found" if 2 * int(judged.success.sum()) >= shown else "not found"


def _check(renderer: ViewRenderer, objects: Sequence[str], labels: Tensor, class_count: int) -> None:
    if not objects:
        raise InputError("an attack on viewpoints takes at least one object; got none")
    for object_id in objects:
        if object_id not in renderer.objects:
            raise unknown_name("object", object_id, renderer.objects)
    if len(set(objects)) < len(objects):
        raise InputError("an attack on viewpoints takes every object once; one came twice")
    if labels.shape != (len(objects),) or not bool(((labels >= 0) & (labels < class_count)).all()):
        raise InputError(
            f"labels of {len(objects)} objects must be as many classes, 0 to {class_count - 1}; got "
            f"{tuple(labels.shape)}: {labels.flatten().tolist()[:10]}"
        )
