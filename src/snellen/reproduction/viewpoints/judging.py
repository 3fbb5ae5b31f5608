"""What a classifier gets right: natural views, random views, and under an attack that was made for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.outcomes import AttackedViews
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.viewpoints.materials import Remembering, all_images, views_of
from snellen.reproduction.viewpoints.modes import azimuth_modes
from snellen.systems.viewpoints.method import ViewpointAttack

#: Views that are judged together.
_TOGETHER = 200


@dataclass(frozen=True, eq=False)
class Held:
    """Objects that no one trained on, with views of them that are the same for every classifier.

    Attributes:
        renderer: draws them.
        labels: of the objects, int64 (o,).
        natural: images (n, 3, h, w) and labels (n,).
        random: the same from anywhere.
    """

    renderer: Remembering
    labels: Tensor
    natural: tuple[Tensor, Tensor]
    random: tuple[Tensor, Tensor]


def held_out(renderer: Remembering, views: int, seed: int) -> Held:
    """Draw test objects, ``views`` times from natural and from random cameras."""
    classes = sorted({renderer.class_of(name) for name in renderer.objects})
    labels = torch.tensor([classes.index(renderer.class_of(name)) for name in renderer.objects])
    natural, anywhere = (all_images(views_of(renderer, "test", way, views, seed)) for way in ("natural", "any"))
    return Held(renderer, labels, natural, anywhere)


def accuracy(classifier: Classifier, images: Tensor, labels: Tensor, objects: int) -> Sample:
    """Share of right decisions on each object; all have as many views, one object after the other."""
    with torch.no_grad():
        right = torch.cat([classifier(part).argmax(1) for part in images.split(_TOGETHER)]) == labels
    return Sample.of(right.double().view(objects, -1).mean(1).numpy())


def attacked(
    classifier: Classifier, held: Held, attack: ViewpointAttack, rng: Randomness, progress: Progress
) -> AttackedViews:
    """Attack the held-out objects with mixtures that begin anew."""
    return attack.attack_views(
        classifier, held.renderer, held.renderer.objects, held.labels, rng=rng, progress=progress
    )


def clean_figures(classifier: Classifier, held: Held) -> dict[str, Figure]:
    """Accuracy on natural and on random views, of each object."""
    objects = len(held.labels)
    return {
        name: accuracy(classifier, *views, objects)
        for name, views in (("natural", held.natural), ("random", held.random))
    }


def attack_figures(found: AttackedViews) -> dict[str, Figure]:
    """Figures of an attack.

    Returns:
        ``attacked``, the accuracy on fresh views of the found mixture, of each object that is seen, or None;
        ``entropy``, nats; ``deviation``, the mean of all components' unbounded numbers; ``modes``, places round an
        object at which views fool; ``blank`` views of all; means over the objects.
    """
    azimuths = found.viewpoints[:, :, 1].numpy()
    modes = [azimuth_modes(row[fooled]) for row, fooled in zip(azimuths, found.success.numpy(), strict=True)]
    rates = found.success_rate[~found.success_rate.isnan()]
    return {
        # Unseen objects have no rate; without any object nothing was measured.
        "attacked": Sample.of((1 - rates).tolist()) if len(rates) else None,
        "entropy": float(found.entropy.mean()),
        "deviation": float(found.deviations.mean()),
        "modes": float(np.mean(modes)),
        "blank": float(found.blanks.sum() / found.renders.sum()),
    }
