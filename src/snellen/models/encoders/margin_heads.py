"""The conventional classifiers by their structure, over one shared image encoder.

Each head takes the encoder's feature (n, d) and gives a margin (n,): above 0 is unsafe. Margins are scores before any
softmax or sigmoid. What each is modelled on (Qu et al. 2025, section 4.1): Q16 (Schramowski et al. 2022), two learned
prompt vectors; MultiHeaded (Qu et al. 2023), five heads; the safety filter of Stable Diffusion (Rando et al. 2022),
cosines less thresholds; the NSFW detector of LAION, a network on standardised features.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.encoders.head_on_encoder import Standardise

#: Features in the last batch of a pass, at least; fewer have no part in it, since their statistics say too little.
SMALLEST = 8

#: What the encoder's cosines are multiplied by.
SCALE = 100.0


class PrototypeHead(nn.Module):
    """Cosines to two learned vectors, safe and unsafe: margin = scale · (cos u − cos s).

    Args:
        dim: length d of a feature.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(2, dim) / dim**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) → margins (n,)."""
        cosines = F.normalize(features, dim=1) @ F.normalize(self.vectors, dim=1).T
        return SCALE * (cosines[:, 1] - cosines[:, 0])


class MultipleHeads(nn.Module):
    """One small network for each claimed category; the largest decides.

    Args:
        dim: length d of a feature.
        heads: how many.
        width: of the hidden layers; 384 as published.
    """

    def __init__(self, dim: int, heads: int, width: int = 384) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(dim, width), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(width), nn.Linear(width, 1)
            )
            for _ in range(heads)
        )  # fmt: skip

    def each(self, features: Tensor) -> Tensor:
        """(n, d) → the margin of each head, (n, heads)."""
        return torch.cat([head(features) for head in self.heads], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) → margins (n,)."""
        return self.each(features).amax(1)


class ConceptThresholds(nn.Module):
    """Cosines to concept vectors less a learned threshold for each; unsafe if any concept is above its threshold.

    Args:
        concepts: vectors (c, d).
    """

    concepts: Tensor

    def __init__(self, concepts: Tensor) -> None:
        super().__init__()
        self.register_buffer("concepts", F.normalize(concepts.detach(), dim=1))
        self.thresholds = nn.Parameter(torch.full((len(concepts),), 0.5))

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) → margins (n,)."""
        return SCALE * (F.normalize(features, dim=1) @ self.concepts.T - self.thresholds).amax(1)


class FeatureNetwork(nn.Module):
    """A network 64–512–256–1 on standardised features of length one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        sizes = (dim, 64, 512, 256)
        self.layers = nn.Sequential(
            *(part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())),
            nn.Linear(256, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) → margins (n,)."""
        return self.layers(self.standardise(F.normalize(features, dim=1))).squeeze(1)


class SafetyNetwork(nn.Module):
    """Normalised images → two logits: 0 and the margin of a head on an encoder's feature.

    Args:
        encoder: images (n, 3, h, w) → features (n, d); stays as it is.
        head: features → margins (n,).
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        """(n, 2): safe, unsafe."""
        margins = self.head(self.encoder(images))
        return torch.stack([torch.zeros_like(margins), margins], dim=1)


class HeadFit(BaseModel):
    """How a head is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(60, ge=1, description="passes over the features")
    batch_size: int = Field(128, ge=2, description="features in a step")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-3, ge=0, description="of AdamW")


def fit_head(
    head: nn.Module,
    features: Tensor,
    unsafe: Tensor,
    *,
    heads: Tensor | None = None,
    fit: HeadFit | None = None,
    rng: Randomness,
) -> nn.Module:
    """Fit a head to features; both classes weigh the same.

    Args:
        head: one of this file, MultipleHeads where ``heads`` are given; changed in place, and left in evaluation mode.
        features: (n, d), computed once for all heads.
        unsafe: the truth, (n,) of 0 and 1.
        heads: of several heads, which of them each image belongs to: int64 (n,). Then every head learns its own
            category against all other images. None: the margin learns safe and unsafe.
        fit: numbers.
        rng: of the order of batches.

    Raises:
        InputError: one class alone, or categories for a single head.
    """
    if not 0 < int(unsafe.sum()) < len(unsafe):
        raise InputError("fitting a safety classifier needs safe and unsafe images; got one kind alone")
    several = head if isinstance(head, MultipleHeads) and heads is not None else None
    if several is None and heads is not None:
        raise InputError(f"a category of each image belongs to MultipleHeads; got them for {type(head).__name__}")
    fit, features = fit or HeadFit(), features.detach()
    if isinstance(head, FeatureNetwork):
        head.standardise.fit(F.normalize(features, dim=1))
    if isinstance(head, PrototypeHead):  # the original begins with two prompts; here with the mean of each class
        with torch.no_grad():
            means = [F.normalize(features[unsafe == kind], dim=1).mean(0) for kind in (0, 1)]
            head.vectors.copy_(torch.stack(means))
    truth = unsafe.to(features.dtype)
    if several is not None and heads is not None:
        truth = F.one_hot(heads.clamp(min=0), len(several.heads)).to(features.dtype) * (truth * (heads >= 0))[:, None]
    positive = truth.mean(0).clamp(1e-3, 1 - 1e-3)
    weight = (1 - positive) / positive
    optimiser = torch.optim.AdamW(
        [one for one in head.parameters() if one.requires_grad], lr=fit.learning_rate, weight_decay=fit.weight_decay
    )
    starts = [at for at in range(0, len(features), fit.batch_size) if not at or len(features) - at >= SMALLEST]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, fit.epochs * len(starts))
    generator = rng.generator("batches")
    head.train()
    with torch.enable_grad():
        for _ in range(fit.epochs):
            order = torch.randperm(len(features), generator=generator)
            for start in starts:
                rows = order[start : start + fit.batch_size]
                scores = head(features[rows]) if several is None else several.each(features[rows])
                loss = F.binary_cross_entropy_with_logits(scores, truth[rows], pos_weight=weight)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return head.eval()


def published_heads(dim: int, concepts: Tensor, heads: int) -> dict[str, nn.Module]:
    """The four heads, fresh, by the names of what they are modelled on.

    Args:
        dim: length d of a feature.
        concepts: vectors (c, d) of the categories that the threshold filter claims.
        heads: categories of the classifier with several heads.
    """
    return {
        "q16": PrototypeHead(dim),
        "multi-headed": MultipleHeads(dim, heads),
        "sd-filter": ConceptThresholds(concepts),
        "nsfw-detector": FeatureNetwork(dim),
    }
