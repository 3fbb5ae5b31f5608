"""Detect concepts in prompts by the error that suppressing their features makes, and edit only prompts that have them.

Tian et al. 2025 (arXiv 2503.09446), with e a state, s its code, F the features of the concepts and τ a factor:

    s'_j = τ s_j for j in F, s_j elsewhere      e' = W_dec s' + b      r = mean over tokens and dimensions of (e' − e)²

A prompt with r ≥ θ gets e', any other keeps e itself, never its reconstruction. θ = margin · the least r of the target
prompts. e' − ê is the sum of (τ − 1) s_j W_dec[:, j] over the active features in F: a correction of rank |F|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.concept_erasing.autoencoder import Codes, SparseAutoencoder
from snellen.systems.concept_erasing.feature_sets import features_of, own_features
from snellen.systems.concept_erasing.text_layer import PromptStates, TextLayer

#: Prompts that are judged together.
_TOGETHER = 64


class Erased(NamedTuple):
    """A concept: the prompts that show it and its features, bool (latents,)."""

    prompts: tuple[str, ...]
    features: Tensor


@dataclass(frozen=True, eq=False)
class ConceptEraser:
    """Concepts that are erased from the prompts of one text tower.

    It holds no state of a prompt and changes no network: :mod:`snellen.systems.concept_erasing.text_edit` puts it into
    force.

    Args:
        layer: whose states are judged and edited.
        autoencoder: fitted to these states; never changed.
        kept: features of retained prompts, bool (latents,).
        concepts: by name.
        selected: features that are chosen for one prompt.
        factor: τ of the suppressed features.
        margin: θ over the least score of a target prompt.
        threshold: θ; None edits every prompt.
    """

    layer: TextLayer
    autoencoder: SparseAutoencoder
    kept: Tensor
    concepts: Mapping[str, Erased]
    selected: int
    factor: float
    margin: float
    threshold: float | None

    @property
    def features(self) -> Tensor:
        """Features of all concepts, bool (latents,)."""
        return torch.stack([concept.features for concept in self.concepts.values()]).any(0)

    def replacement(self, states: Tensor) -> Tensor:
        """What replaces states (n, t, d), e'; the first token, the start mark, stays as it is, bit for bit."""
        changed = self._replaced(states[:, 1:].reshape(-1, states.shape[-1]))
        return torch.cat([states[:, :1], changed.view_as(states[:, 1:])], 1)

    def scores(self, read: PromptStates) -> Tensor:
        """Score r of each prompt, float64 (n,)."""
        counted = read.states[read.counted]
        return mean_error(self._replaced(counted), counted, read.counted)

    def score_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Score r of prompts, float64 (n,): used for the threshold and for every later decision alike."""
        parts = [prompts[start : start + _TOGETHER] for start in range(0, len(prompts), _TOGETHER)]
        return torch.cat([self.scores(self.layer.states(part)) for part in parts])

    @torch.no_grad()
    def _replaced(self, states: Tensor) -> Tensor:
        """What replaces states (m, d)."""
        codes = self.autoencoder.encode(states.to(self.autoencoder.encoder.dtype))
        suppressed = self.features[codes.indices]
        again = self.autoencoder.decode(codes) + self.autoencoder.centre
        return (again + correction(codes, self.autoencoder.decoder, suppressed, self.factor)).to(states.dtype)

    def flags(self, scores: Tensor) -> Tensor:
        """Which prompts are edited, bool (n,)."""
        if self.threshold is None:
            return torch.ones_like(scores, dtype=torch.bool)
        return scores >= self.threshold

    def always(self) -> ConceptEraser:
        """The same without a threshold: every prompt is edited."""
        return replace(self, threshold=None)

    def adding(self, concepts: Mapping[str, Sequence[str]]) -> ConceptEraser:
        """Erase further concepts too. Nothing is trained: features are added, and the threshold is set anew.

        The threshold lies below the scores of the target prompts of all concepts, earlier ones too.

        Raises:
            InputError: a name that is taken, no prompts, or a concept whose features retained prompts have too.
        """
        for name, prompts in concepts.items():
            if name in self.concepts:
                raise InputError(f"the concept {name!r} is erased already")
            if isinstance(prompts, str) or not prompts:
                raise InputError(f"the concept {name!r} needs a list of prompts that show it; got {prompts!r}")
        targets = {
            name: features_of(self.autoencoder, self.layer, prompts, self.selected)
            for name, prompts in concepts.items()
        }
        new = {
            name: Erased(tuple(concepts[name]), features) for name, features in own_features(targets, self.kept).items()
        }
        grown = replace(self, concepts={**self.concepts, **new})
        if not grown.concepts:
            raise InputError("there is no concept to erase")
        scores = grown.score_prompts([prompt for one in grown.concepts.values() for prompt in one.prompts])
        return replace(grown, threshold=self.margin * float(scores.min()))


def concept_eraser(
    layer: TextLayer,
    autoencoder: SparseAutoencoder,
    concepts: Mapping[str, Sequence[str]],
    keep: Sequence[str],
    *,
    selected: int = 128,
    factor: float = -8.0,
    margin: float = 0.99,
) -> ConceptEraser:
    """Find the features of concepts, and the threshold.

    Args:
        layer: whose states the autoencoder was fitted to.
        autoencoder: fitted.
        concepts: name → prompts that show the concept. They alone set the threshold.
        keep: retained prompts, which show none of the concepts.
        selected: features that are chosen for one prompt.
        factor: of the suppressed features: 0 removes them, negative values push away.
        margin: threshold over the least score of a target prompt.

    Raises:
        InputError: no concepts or retained prompts; widths that differ; a concept whose features retained prompts have.
    """
    if not keep or not concepts:
        raise InputError(
            f"{len(concepts)} concepts and {len(keep)} prompts to keep came; expected at least one of each"
        )
    if autoencoder.width != layer.width:
        raise InputError(
            f"the autoencoder reads states of width {autoencoder.width}, the text encoder has {layer.width}; fit one "
            f"to this encoder"
        )
    start = ConceptEraser(
        layer=layer,
        autoencoder=autoencoder,
        kept=features_of(autoencoder, layer, keep, selected),
        concepts={},
        selected=selected,
        factor=factor,
        margin=margin,
        threshold=None,
    )
    return start.adding(concepts)


def correction(codes: Codes, decoder: Tensor, suppressed: Tensor, factor: float) -> Tensor:
    """The difference e' − ê of m states: the sum of (τ − 1) s_j W_dec[:, j] over suppressed active features, (m, d).

    Args:
        codes: of the states.
        decoder: columns of W_dec, (latents, d).
        suppressed: which of the active features are, bool (m, k).
        factor: τ.
    """
    return F.embedding_bag(
        codes.indices, decoder, per_sample_weights=(factor - 1) * codes.values * suppressed, mode="sum"
    )


def mean_error(changed: Tensor, states: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted tokens of each prompt and over all dimensions of (e' − e)², float64 (n,).

    Padding does not count, so a score does not depend on what a prompt is padded to.

    Args:
        changed: e' of the counted tokens of all prompts, (m, d).
        states: e of them, (m, d).
        counted: which tokens these are, bool (n, t), m in all.

    Raises:
        InputError: a prompt without a token that counts.
    """
    tokens = counted.sum(1)
    if not bool((tokens > 0).all()):
        raise InputError("a prompt has no token that counts, so it has no score")
    each = (changed.double() - states.double()).square().mean(1)
    return each.new_zeros(len(counted)).index_add(0, counted.nonzero()[:, 0], each) / tokens
