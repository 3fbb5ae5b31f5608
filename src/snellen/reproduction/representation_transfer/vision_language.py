"""Captioners of one frozen encoder and one frozen decoder, whose projectors are each trained by the captions' loss.

A projector is a perceptron of two layers, as LLaVA 1.5 and Prismatic have it, from the encoder's states to what the
decoder reads. Each starts from its own random weights and sees its own order of the captions. How alike the geometries
behind two of them are is decided by the decoder that they are trained for: it reads through Qᵀ, where Q goes along the
geodesic exp(t · log Q) from the decoder's own basis (t = 0) to a random one (t = 1). Two projectors at t = 0 share a
decoder and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.metrics.alignment import random_orthogonal
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.tokens.token_rows import pad
from snellen.reproduction.representation_transfer.token_targets import as_classifier, target_scores, teacher_forced
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Where a captioner of this kind is cut.
PROJECTED = "projected"

#: How a projector is trained.
PLAN = TrainingPlan(epochs=10, batch_size=32, learning_rate=1e-2, schedule="one-cycle", warmup_steps=20)


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


class Projector(nn.Module):
    """States (n, s, d) → visual tokens (n, s, d), with initial weights from torch's global generator.

    Args:
        width: d.
        basis: rotation (d, d) of the tokens that its decoder reads.
    """

    basis: Tensor

    def __init__(self, width: int, basis: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.register_buffer("basis", basis.float())

    def forward(self, states: Tensor) -> Tensor:
        """Visual tokens (n, s, d)."""
        found: Tensor = self.layers(states)
        return found


def caption_losses(captioner: CrossAttentionCaptioner) -> Callable[[nn.Module, Batch], Tensor]:
    """Mean cross-entropy (n,) of the captions' tokens, given the states of their images; fillers do not count.

    The targets of a batch are tokens int64 (n, t) of captions with both marks, filled up with −1.
    """

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        wanted = batch.targets[:, 1:]
        tokens: Tensor = model(batch.images)
        assert isinstance(model, Projector)
        logits = captioner.sequence_logits(batch.targets[:, :-1].clamp(min=0), tokens @ model.basis.T)
        each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=-1)
        return each.sum(1) / (wanted >= 0).sum(1)

    return losses


def caption_store(captioner: CrossAttentionCaptioner, states: Tensor, captions: Sequence[str]) -> ImageStore:
    """States (n, s, d) of images with their captions as tokens, for a training of projectors."""
    tokens, there = pad([row.tolist() for row in captioner.tokenise(captions)], filler=0)
    return ImageStore.of_tensors(states, torch.where(there > 0, tokens, -1), split="train")


def trained_projector(
    captioner: CrossAttentionCaptioner,
    store: ImageStore,
    basis: Tensor,
    rng: Randomness,
    progress: Progress,
    plan: TrainingPlan = PLAN,
) -> Projector:
    """Train a projector by the captions' loss alone, from initial weights and in an order of its own."""
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        projector = Projector(store.images.shape[-1], basis)
    chosen = plan.model_copy(update={"seed": rng.generator("training").initial_seed() % 2**31})
    found = train(projector, store, plan=chosen, objective=caption_losses(captioner), progress=progress)
    projector.load_state_dict(dict(found.weights))
    return projector.eval().requires_grad_(False)


@torch.no_grad()
def caption_gain(captioner: CrossAttentionCaptioner, projector: Projector, store: ImageStore) -> float:
    """How much the mean loss of captions rises when each is given the image of the one before, in nats a token."""
    losses, everyone = caption_losses(captioner), torch.arange(len(store))
    each = []
    for states in (store.images, store.images.roll(1, 0)):
        batch = Batch(states, store.targets, store.weights, everyone, Randomness(0))
        each.append(float(losses(projector, batch).mean()))
    return each[1] - each[0]


class CaptionSplit:
    """A captioner with a projector, cut behind it: images → "says the target".

    Args:
        name: for messages.
        captioner: encoder and decoder.
        projector: between them.
        target: int64 (t,), what a caption is to begin with, without the beginning mark.
    """

    def __init__(self, name: str, captioner: CrossAttentionCaptioner, projector: Projector, target: Tensor) -> None:
        self.captioner, self.projector, self.target, self.layer = captioner, projector, target, PROJECTED
        self.classifier = as_classifier(name, lambda images: self.decode(self.encode(images)))
        self.place = "visual tokens behind the projector"
        self._beginning = captioner.tokenise([""], ended=False)[0][:1]

    def encode(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) → visual tokens (n, s, d)."""
        tokens: Tensor = self.projector(self.captioner.encode(images))
        return tokens

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Visual tokens (n, s, d) → scores of the two classes (n, 2)."""
        begun = teacher_forced(self._beginning.expand(len(representations), 1), self.target)
        logits = self.captioner.sequence_logits(begun, representations @ self.projector.basis.T)
        return target_scores(logits, self.target)
