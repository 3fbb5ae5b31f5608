"""Training on blends that a generator learns to make hard: everything that one step needs, as one module.

Qin, Jin, Jiang, El-Yacoubi and Gao, "Adversarial AutoMixup", ICLR 2024, arXiv 2312.11954. The online classifier q
trains on clean images and on blends; its moving average, the teacher k, judges other blends, through which the
generator G of the masks is trained: on even iterations to raise the teacher's loss, on odd ones to lower it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.systems.adversarial_mixup.mask_generator import MaskGenerator, Upsampling
from snellen.systems.adversarial_mixup.two_heads import TwoHeads, TwoScores
from snellen.training.batches import Batch, Examples
from snellen.training.evaluation import score_examples
from snellen.training.mixing import Draw, blend_images, blend_targets, draw_blend, plain_where_nearly_whole
from snellen.training.objectives import cross_entropy
from snellen.training.optimizers import warmed_decay

CosineSign = Literal["official", "intent"]


class MixSettings(BaseModel):
    """The numbers of the method; names as in the recipes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: int = Field(2, ge=2, le=8)
    random_parts: bool = False
    alpha: float = Field(1.0, gt=0)
    margin: float = Field(0.03, ge=0, lt=0.5)
    adversarial: bool = True
    beta: float = Field(0.3, ge=0, le=1)
    cosine_sign: CosineSign = "official"
    clean_share: float = Field(0.5, ge=0, le=1)
    knows_shares: bool = False
    area_weight: float = Field(0.0, ge=0)
    area_slack: float = Field(0.1, ge=0, lt=1)
    attention_gain: float | None = Field(None, gt=0)
    generator_rate: float = Field(1.0, gt=0)
    upsampling: Upsampling = "bilinear"
    momentum: float = Field(0.999, ge=0, lt=1)
    last_momentum: float = Field(0.999999, ge=0, le=1)
    held: float = Field(0.1, ge=0, le=1)
    parity: bool = False


class Losses(NamedTuple):
    """Losses of one iteration, each (n,); ``generator`` is None where it was not finite and left out."""

    classifier: Tensor
    generator: Tensor | None


class Blend(NamedTuple):
    """Blends, with what they were made of: images (n, c, h, w), masks (n, p, h, w)."""

    images: Tensor
    masks: Tensor
    draw: Draw


class AdversarialMixing(nn.Module):
    """Online classifier, teacher and mask generator, trained together by one optimizer.

    ``module(images)`` are the scores of what is deployed: the teacher with its head for clean images.
    ``module(images, targets, rng)`` are the losses of one iteration, see :func:`mixing_objective`. The teacher follows
    the online classifier after every iteration; that is done at the start of the next call, or when scores are
    requested, so that it comes after the optimizer's step, and a checkpoint in between holds that it is still to come.

    Statistics of the teacher's BatchNorm come from its own passes in training mode and are not averaged.

    Args:
        network: the classifier; a copy is the teacher.
        class_count: k.
        settings: numbers of the method.
        feature_layer: layer of the network whose maps masks are made of.
        total_steps: iterations of the whole training, for the course of the momentum.
        size: height and width of the images, pixels.
    """

    iterations: Tensor
    behind: Tensor
    skipped: Tensor
    maskless: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_count: int,
        *,
        settings: MixSettings,
        feature_layer: str,
        total_steps: int,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.class_count, self.settings, self.total_steps = class_count, settings, total_steps
        self.online = TwoHeads(copy.deepcopy(network), feature_layer)
        self.teacher = copy.deepcopy(self.online).requires_grad_(False)
        self.generator = MaskGenerator(
            self.online.channels(torch.zeros(1, 3, *size)),
            knows_shares=settings.knows_shares,
            upsampling=settings.upsampling,
            attention_gain=settings.attention_gain,
        )
        self.generator.rate_factor = settings.generator_rate
        self.register_buffer("iterations", torch.zeros((), dtype=torch.int64))
        self.register_buffer("behind", torch.zeros((), dtype=torch.bool))
        #: Iterations whose generator loss was not finite.
        self.register_buffer("skipped", torch.zeros((), dtype=torch.int64))
        #: Blends of the classifier that had constant shares because their masks were not finite.
        self.register_buffer("maskless", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, targets: Tensor | None = None, rng: Randomness | None = None) -> Tensor:
        """Scores (n, k) of images alone; with targets and randomness the losses (n,) of one iteration."""
        self.follow()
        if targets is None or rng is None:
            return self.teacher(images).plain
        losses = self.losses(images, targets, rng)
        self.iterations += 1
        self.behind.fill_(True)
        if losses.generator is None:
            self.skipped += 1
            return losses.classifier
        return losses.classifier + losses.generator

    @torch.no_grad()
    def follow(self) -> None:
        """Move the teacher after the iteration before: k ← μ k + (1 − μ) q, parameters only."""
        if not bool(self.behind):
            return
        step, settings = int(self.iterations) - 1, self.settings
        momentum = momentum_at(
            step, self.total_steps, first=settings.momentum, last=settings.last_momentum, held=settings.held
        )
        if not settings.parity:
            momentum = warmed_decay(momentum, step + 1)
        for old, new in zip(self.teacher.parameters(), self.online.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)
        self.behind.fill_(False)

    def losses(self, images: Tensor, targets: Tensor, rng: Randomness) -> Losses:
        """Losses of the classifier and of the generator on independently drawn blends.

        Args:
            images: (n, 3, h, w) in [0, 1].
            targets: class indices (n,) or probabilities (n, k).
            rng: bound to the examples.

        Raises:
            InputError: fewer images than parts.
        """
        drawn, for_generator = self.draws(images, rng)
        with torch.no_grad():
            seen = self.teacher(images)
        projected = self.generator.project(seen.maps)
        size = (images.shape[2], images.shape[3])
        with torch.no_grad():
            masks = self.generator.masks(projected, drawn.parts, drawn.shares, size)
            masks = plain_where_nearly_whole(masks, drawn.shares, self.settings.margin, parity=self.settings.parity)
            # A blend that is not finite would spoil losses, and the statistics of the online BatchNorm for good.
            usable = torch.isfinite(masks).flatten(1).all(1)
            masks = torch.where(usable[:, None, None, None], masks, drawn.shares[:, :, None, None].to(masks.dtype))
            self.maskless += (~usable).sum()
        classifier = self._classifier_losses(images, targets, drawn, masks)
        masks = self.generator.masks(projected, for_generator.parts, for_generator.shares, size)
        return Losses(classifier, self._generator_losses(images, targets, for_generator, masks, seen))

    def draws(self, images: Tensor, rng: Randomness) -> tuple[Draw, Draw]:
        """Who is blended with whom, for classifier and generator; more than two parts have the same shares in both."""
        settings, count = self.settings, len(images)
        parts = settings.parts
        if settings.random_parts:
            parts = int(torch.randint(2, parts + 1, (), generator=rng.generator("parts")))
        classifier, generator = (
            draw_blend(
                rng.child(name), count, parts=parts, alpha=settings.alpha, like=images, one_share=settings.parity
            )
            for name in ("classifier", "generator")
        )
        return classifier, generator if parts == 2 else Draw(generator.parts, classifier.shares)

    @torch.no_grad()
    def blend(self, images: Tensor, draw: Draw) -> Blend:
        """Blends as the classifier would see them, to show or to measure. Takes the mode that the module is in."""
        size = (images.shape[2], images.shape[3])
        masks = self.generator(self.teacher(images).maps, draw.parts, draw.shares, size)
        return Blend(blend_images(images, draw.parts, masks), masks, draw)

    def _classifier_losses(self, images: Tensor, targets: Tensor, draw: Draw, masks: Tensor) -> Tensor:
        """Clean images by one head; blends, and for more than two parts plain mixup of the same, by the other."""
        share, labels = self.settings.clean_share, blend_targets(targets, draw, self.class_count)
        losses = cross_entropy(self.online(images).plain.float(), targets)
        if len(draw.parts) > 2:
            plain = self.online(blend_images(images, draw.parts, draw.shares)).mixed
            losses = share * losses + (1 - share) * cross_entropy(plain.float(), labels)
        mixed = self.online(blend_images(images, draw.parts, masks)).mixed
        return losses + cross_entropy(mixed.float(), labels)

    def _generator_losses(
        self, images: Tensor, targets: Tensor, draw: Draw, masks: Tensor, seen: TwoScores
    ) -> Tensor | None:
        """Through the frozen teacher to the masks; its scores of the clean images are those it gave them already."""
        # A pass on what is not finite would spoil the statistics of the teacher's BatchNorm for good.
        if not bool(torch.isfinite(masks).all()):
            return None
        scores = self.teacher(blend_images(images, draw.parts, masks)).mixed.float()
        hardness = cross_entropy(scores, blend_targets(targets, draw, self.class_count))
        losses = hardness
        if self.settings.adversarial and int(self.iterations) % 2 == 0:
            likeness = weighted_cosine(scores, seen.mixed.float(), draw)
            losses = adversarial_loss(hardness, likeness, beta=self.settings.beta, sign=self.settings.cosine_sign)
        if self.settings.area_weight:
            losses = losses + self.settings.area_weight * area_loss(masks, draw.shares, self.settings.area_slack)
        return losses if bool(torch.isfinite(losses.detach()).all()) else None


def mixing_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The objective of an :class:`AdversarialMixing`: (module, batch) → losses (n,)."""
    losses: Tensor = model(batch.images, batch.targets, batch.rng)
    return losses


def adversarial_loss(hardness: Tensor, likeness: Tensor, *, beta: float, sign: CosineSign) -> Tensor:
    """What the generator minimises on even iterations: −β · L + (1 − β) · s · C.

    Args:
        hardness: L, the teacher's cross-entropy on blends, (n,).
        likeness: C, the cosine of the teacher's scores of a blend and of its parts, (n,).
        beta: β, in [0, 1].
        sign: "official": s = +1 as the published code has it, which drives blends away from their parts; "intent":
            s = −1, which keeps them close, as the purpose that the abstract states requires.
    """
    return -beta * hardness + (1 - beta) * (1.0 if sign == "official" else -1.0) * likeness


def area_loss(masks: Tensor, shares: Tensor, slack: float) -> Tensor:
    """How far the area of each mask is from the share of its label, beyond what is free: mean over the parts, (n,).

    max(|λ_i − mean of M_i| − ε, 0), the area loss of AutoMix (Liu et al., ECCV 2022). Adversarial AutoMixup has none.
    Without it the hardest blend shows the part with the smaller share alone, for any images.

    Args:
        masks: (n, p, h, w).
        shares: λ, (n, p).
        slack: ε, in [0, 1).

    >>> area_loss(torch.ones(1, 1, 2, 2), torch.tensor([[0.5]]), 0.1).item()
    0.4000000059604645
    """
    return ((masks.mean((2, 3)) - shares).abs() - slack).clamp_min(0).mean(1)


def weighted_cosine(scores: Tensor, clean: Tensor, draw: Draw) -> Tensor:
    """Σ_i λ_i cos(scores of the blend, scores of part i): (n, k) and scores of the clean batch (n, k) → (n,).

    The scores of the clean batch are computed once and permuted: statistics of a batch do not depend on its order.
    """
    cosines = F.cosine_similarity(scores[None], clean[draw.parts], dim=2)
    return (cosines * draw.shares.T).sum(0)


def momentum_at(step: int, total: int, *, first: float = 0.999, last: float = 0.999999, held: float = 0.1) -> float:
    """Momentum of the teacher after iteration ``step`` of ``total``: held at first, then along a cosine to the last.

    μ_t = last − (last − first)(cos(π t / T) + 1) / 2 once t ≥ held · T.

    >>> [momentum_at(step, 100, first=0.0, last=1.0) for step in (0, 9, 50, 100)]
    [0.0, 0.0, 0.5, 1.0]
    """
    if total < 1:
        raise InputError(f"a training has at least one iteration, got {total}")
    if step < held * total:
        return first
    return last - (last - first) * (math.cos(math.pi * step / total) + 1) / 2


#: Teacher or online classifier, head for clean images or for blends; the first is what is deployed.
HEADS = ("teacher_plain", "teacher_mixed", "online_plain", "online_mixed")


class _SideBySide(nn.Module):
    """Scores of the four heads, (n, 4 k), in the order of :data:`HEADS`."""

    def __init__(self, module: AdversarialMixing) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        self.module.follow()
        teacher, online = self.module.teacher(images), self.module.online(images)
        return torch.cat([teacher.plain, teacher.mixed, online.plain, online.mixed], 1)


def four_heads(module: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Figures on the validation split: an ``Evaluate`` of the training loop.

    Returns:
        ``accuracy`` and ``loss`` (mean cross-entropy in nats) of the head that is deployed; ``accuracy.HEAD`` of all
        four, ``accuracy.ensemble`` of the mean of their probabilities; ``skipped``, the iterations so far whose
        generator loss was not finite.

    Raises:
        ModelError: scores that are not finite.
    """
    assert isinstance(module, AdversarialMixing)
    scores, targets = score_examples(_SideBySide(module), examples)
    if not bool(torch.isfinite(scores).all()):
        raise ModelError("the model gives scores that are not finite")
    heads = dict(zip(HEADS, scores.chunk(len(HEADS), 1), strict=True))
    weights = examples.weights.double() / examples.weights.double().sum()
    truth = targets.argmax(1) if targets.ndim == 2 else targets

    def accuracy(of: Tensor) -> float:
        return float((weights * (of.argmax(1) == truth)).sum())

    deployed = heads[HEADS[0]]
    together = torch.stack([of.softmax(1) for of in heads.values()]).mean(0)
    return {
        "accuracy": accuracy(deployed),
        "loss": float((weights * cross_entropy(deployed, targets).double()).sum()),
        **{f"accuracy.{name}": accuracy(of) for name, of in heads.items()},
        "accuracy.ensemble": accuracy(together),
        "skipped": float(module.skipped),
    }
