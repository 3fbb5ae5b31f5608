"""Mixtures of many objects that follow a classifier while it is trained: searched once, then continued.

In the first epoch every object is searched anew; in each later one, one object of each class, drawn at random,
continues for a few steps from where its mixture stands, against the classifier as it is by then. Views are drawn class
by class, and with some probability from the mixture of another object of the same class (distribution sharing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.criterion import Misclassified
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import COORDINATES, viewpoints_of
from snellen.systems.viewpoints.mixture import ViewpointMixture, draw_unbounded
from snellen.systems.viewpoints.search import Score, SearchSettings, search_viewpoints
from snellen.systems.viewpoints.views import Look


@dataclass(frozen=True)
class LabelledObjects:
    """Objects and their classes.

    Args:
        ids: of n objects.
        labels: class of each.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]

    def draw(self, rng: Randomness, stream: str, *, of: Tensor | None = None) -> Tensor:
        """Draw objects, int64 (m,), for the m examples of ``rng``: a class, each as likely, then one of its objects.

        Args:
            rng: bound to m examples.
            stream: name of the draw.
            of: draw within the classes of these objects (m,) instead.
        """
        members = {
            label: [n for n, own in enumerate(self.labels) if own == label] for label in sorted(set(self.labels))
        }
        classes = list(members)
        shares = rng.uniform(stream, (2,)).double()
        chosen = []
        for row, (first, second) in enumerate(shares.tolist()):
            label = classes[int(first * len(classes)) % len(classes)] if of is None else self.labels[int(of[row])]
            own = members[label]
            chosen.append(own[int(second * len(own)) % len(own)])
        return torch.tensor(chosen, dtype=torch.int64)


class MixturePool(nn.Module):
    """Mixtures of n objects as buffers, so that a checkpoint of the training holds them.

    Args:
        objects: n of them.
        settings: of the search.
        warm_iterations: steps of a continued search.
        share_rate: probability that a view comes of the mixture of a random object of the same class.
        refresh: whether searches go on after the first; without, the pool is frozen.
    """

    means: Tensor
    deviations: Tensor
    weights: Tensor
    epoch: Tensor
    renders: Tensor

    def __init__(
        self,
        objects: LabelledObjects,
        settings: SearchSettings,
        *,
        warm_iterations: int = 10,
        share_rate: float = 0.5,
        refresh: bool = True,
    ) -> None:
        super().__init__()
        self.objects, self.settings = objects, settings
        self.warm_iterations, self.share_rate, self.refresh = warm_iterations, share_rate, refresh
        shape = (len(objects.ids), settings.components, len(COORDINATES))
        self.register_buffer("means", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("deviations", torch.full(shape, settings.start_deviation, dtype=torch.float64))
        self.register_buffer(
            "weights",
            torch.full(shape if settings.parity else shape[:2], 1 / settings.components, dtype=torch.float64),
        )
        #: The epoch that the pool was last searched for; 0 before the first search.
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        #: Views that searches rendered.
        self.register_buffer("renders", torch.zeros((), dtype=torch.int64))

    def mixture(self, number: int) -> ViewpointMixture:
        """Mixture of one object, on the CPU."""
        parts = (self.means, self.deviations, self.weights)
        return ViewpointMixture(*(part[number].detach().cpu().double() for part in parts))

    def follow(
        self, epoch: int, look: Callable[[str], Look], score: Score, rng: Randomness, progress: Progress | None = None
    ) -> None:
        """Search for an epoch, unless that was done: all objects at first, later one of each class.

        Args:
            epoch: from 1.
            look: object → its view.
            score: the classifier as it is, in evaluation mode.
            rng: of the run; what is drawn follows from the epoch and the objects' ids.
            progress: callback that receives progress updates.
        """
        known = int(self.epoch)
        if known == epoch or (known and not self.refresh):
            return
        listener, own = progress or Silent(), rng.child("pool", epoch)
        due = self._due(own) if known else range(len(self.objects.ids))
        listener.begin("viewpoints", len(due))
        for number in due:
            name = self.objects.ids[number]
            found = search_viewpoints(
                look(name),
                score,
                label=self.objects.labels[number],
                criterion=Misclassified(),
                settings=self.settings,
                rng=own.for_examples([name]),
                start=self.mixture(number) if known else None,
                iterations=self.warm_iterations if known else None,
            )
            self.means[number] = found.mixture.means.to(self.means)
            self.deviations[number] = found.mixture.deviations.to(self.deviations)
            self.weights[number] = found.mixture.weights.to(self.weights)
            self.renders += found.renders
            listener.advance("viewpoints", 1, name)
        listener.finish("viewpoints")
        self.epoch.fill_(epoch)

    def draw(self, rng: Randomness) -> tuple[Tensor, Tensor]:
        """Draw an object and a viewpoint of it for each of the m examples of ``rng``: int64 (m,), float64 (m, 6)."""
        shown = self.objects.draw(rng, "object")
        others = self.objects.draw(rng, "shared with", of=shown)
        shares = rng.uniform("share", ())
        sources = torch.where(shares < self.share_rate, others, shown)
        unbounded = [
            draw_unbounded(self.mixture(int(number)), 1, rng[[row]].child("view")) for row, number in enumerate(sources)
        ]
        return shown, viewpoints_of(torch.cat(unbounded))

    def _due(self, rng: Randomness) -> Sequence[int]:
        """One object of each class."""
        labels = sorted(set(self.objects.labels))
        first = torch.tensor([self.objects.labels.index(label) for label in labels])
        bound = rng.for_examples([f"class {label}" for label in labels])
        return self.objects.draw(bound, "due", of=first).tolist()
