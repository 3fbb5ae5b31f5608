"""A captioner as a frozen encoder, a projector and a decoder: transfer between projectors of more and less equal bases.

The encoder and the decoder are those of a captioner. A projector is a linear map, fitted by ridge regression, from what
the encoder gives to what the decoder reads, in a basis Q; its decoder reads through Qᵀ, so that all of these models
caption alike. Between the source's basis (the decoder's own) and a random one, Q goes along the geodesic
exp(t · log Q): at t = 0 the latent geometries behind the projectors are the same, at t = 1 they have nothing to do with
each other. The projectors of source and targets are fitted on different images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.metrics.alignment import random_orthogonal, ridge_map
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.layers.split_classifier import PIXELS, channel_rows
from snellen.reproduction.representation_transfer.token_targets import as_classifier, target_scores, teacher_forced

#: Where a captioner of this kind is cut.
PROJECTED = "projected"


def rotation_towards(size: int, share: float, generator: torch.Generator) -> Tensor:
    """The rotation exp(t · log Q) for a random rotation Q and t in [0, 1]: float64 (size, size).

    The same generator state gives the same Q for every t.
    """
    whole = random_orthogonal(size, generator)
    if float(torch.linalg.det(whole)) < 0:
        # A reflection has no real logarithm.
        whole[:, 0] *= -1
    values, vectors = torch.linalg.eig(whole)
    turned = torch.diag(torch.polar(torch.ones_like(values.angle()), share * values.angle()))
    return (vectors @ turned @ torch.linalg.inv(vectors)).real


@dataclass(frozen=True, eq=False)
class Projector:
    """states · weights + bias, in a basis.

    Attributes:
        weights: (d, d).
        bias: (d,).
        basis: rotation (d, d) of what it gives.
    """

    weights: Tensor
    bias: Tensor
    basis: Tensor


def fit_projector(states: Tensor, basis: Tensor, *, strength: float = 1e-4) -> Projector:
    """Ridge regression from states (n, s, d) to the same in another basis."""
    rows = channel_rows(states)
    basis = basis.to(rows)
    weights = ridge_map(rows, rows @ basis, strength=strength)
    return Projector(weights, (rows @ basis).mean(0) - rows.mean(0) @ weights, basis)


class CaptionSplit:
    """A captioner with a projector, cut behind it or at the pixels: images → "says the target".

    Args:
        name: for messages.
        captioner: encoder and decoder.
        projector: between them.
        target: int64 (t,), what a caption is to begin with, without the beginning mark.
        layer: ``projected`` or ``pixels``.
    """

    def __init__(
        self, name: str, captioner: CrossAttentionCaptioner, projector: Projector, target: Tensor, layer: str
    ) -> None:
        self.captioner, self.projector, self.target, self.layer = captioner, projector, target, layer
        self.classifier = as_classifier(name, lambda images: self.read(self.project(images)))
        self.place = PIXELS if layer == PIXELS else "visual tokens behind the projector"
        self._beginning = captioner.tokenise([""], ended=False)[0][:1]

    def project(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) → visual tokens (n, s, d)."""
        return self.captioner.encode(images) @ self.projector.weights + self.projector.bias

    def read(self, tokens: Tensor) -> Tensor:
        """Visual tokens (n, s, d) → scores of the two classes (n, 2)."""
        begun = teacher_forced(self._beginning.expand(len(tokens), 1), self.target)
        logits = self.captioner.sequence_logits(begun, tokens @ self.projector.basis.T)
        return target_scores(logits, self.target)

    def encode(self, images: Tensor) -> Tensor:
        """Images as they are, or visual tokens."""
        return images if self.layer == PIXELS else self.project(images)

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Scores of images, or of visual tokens."""
        return self.read(self.project(representations) if self.layer == PIXELS else representations)
