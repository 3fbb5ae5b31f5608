"""What a perceptualized classifier sees, step by step, before it decides.

Kupeev and Nitzany, "Semiotics Networks Representing Perceptual Inference" (CONN), arXiv 2310.05212: from the observed
to the seen image, and the training image that it settled near. What is seen may belong to another class: then the
explanation shows a mistake.
"""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Explained
from snellen.core.randomness import Randomness
from snellen.systems.perception.attractors import EXACT
from snellen.systems.perception.layer import perception_orbit
from snellen.systems.perception.perceptualized import PerceptualizedNetwork, as_shown


class Perception(Method):
    """Show the chain of seen images of a classifier that was trained by ``perceptual_autoencoder``."""

    name: ClassVar[str] = "perception"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers"})

    shown: int = Field(4, ge=0, description="images between the observed and the seen one that are shown")
    remembered: str | None = Field(
        None, description="reference of the images that it was trained on; the one nearest to what is seen is shown"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a classifier that perceives nothing."""
        lacking = super().missing(classifier, images)
        if lacking is None and classifier is not None and not isinstance(classifier.module, PerceptualizedNetwork):
            return (
                f"shows what a perceptual autoencoder sees, and {classifier.name} has none; train one with "
                f"'snellen train perceptual-autoencoder'"
            )
        return lacking

    def explain(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Explained:
        """Explain prepared images (n, 3, s, s); nothing is drawn but what the classifier itself draws.

        Raises:
            InputError: a classifier that perceives nothing, or remembered images without a usable one.
        """
        reason = self.missing(classifier)
        if reason is not None:
            raise InputError(f"{self.name} {reason}")
        network = classifier.module
        assert isinstance(network, PerceptualizedNetwork)
        walked = perception_orbit(network.autoencoder, network.observed(images), network.layer)
        finite = walked.finite.tolist()
        count = len(walked.states) - 1
        between = sorted({round(place) for place in torch.linspace(0, count, self.shown + 2).tolist()} - {0, count})
        edits = {f"seen after step {step}": _picture(walked.states[step]) for step in between}
        edits["seen"] = _picture(walked.seen)
        figures = {
            "moved": (walked.seen - walked.states[0]).flatten(1).norm(dim=1),
            "last_step": walked.moves[-1],
        }
        text = ["" for _ in images]
        if self.remembered is not None:
            memory, names = _memory(self.remembered, classifier)
            distances = torch.cdist(walked.seen.flatten(1), network.observed(memory).flatten(1), compute_mode=EXACT)
            nearest = distances.argmin(1)
            edits["nearest remembered image"] = memory[nearest].clamp(0, 1) * walked.finite[:, None, None, None]
            figures["distance_to_remembered"] = distances.amin(1)
            text = [f"what is seen is nearest to {names[place]}" for place in nearest.tolist()]
        return Explained(
            targets=targets,
            status=tuple("ok" if fine else "no evidence: the image runs away when it is seen again" for fine in finite),
            edits=edits,
            figures={name: torch.where(walked.finite, found, torch.nan).cpu() for name, found in figures.items()},
            text=tuple(sentence if fine else "" for sentence, fine in zip(text, finite, strict=True)),
            records=tuple(
                {"moves": [round(move, 6) if isfinite(move) else None for move in own]}
                for own in walked.moves.T.tolist()
            ),
            assumptions=("the classifier decides about the last image seen, and about nothing else",),
        )


def _picture(seen: Tensor) -> Tensor:
    """Seen images as they can be shown: cut to [0, 1], black where they are not numbers."""
    return as_shown(seen).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)


def _memory(reference: str, classifier: Classifier) -> tuple[Tensor, list[str]]:
    """Prepared images (m, 3, s, s) of a reference, and each one's name with its class."""
    from snellen.data.references import load_images

    images = load_images(reference)
    prepared, names = [], []
    for position, label in enumerate(images.labels.tolist()):
        try:
            prepared.append(classifier.prepare(images.read(position)))
        except RejectedImageError:
            continue
        known = images.class_names is not None and label >= 0
        names.append(f"{images.ids[position]} ({images.class_names[label]})" if known else images.ids[position])  # type: ignore[index]
    if not prepared:
        raise InputError(f"none of the {len(images)} images of {reference} can be used as remembered images")
    return torch.stack(prepared).to(classifier.device), names
