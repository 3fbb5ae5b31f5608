"""A classifier that decides by named concepts alone: images → scores of phrases → one linear layer → logits.

Yan et al., MedCBM (arXiv 2310.03182): logits = W z + b, with z the scores s in units of the training images,
z_i = (s_i − mean_i) / deviation_i. Nothing of an image reaches the logits but its N scores. The text–image model is
named by its reference and is no part of the state; the phrases stand in the card, in the order of W's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.encoders.head_on_encoder import Standardise
from snellen.models.references import load_two_tower
from snellen.systems.concept_bottleneck.concept_scores import (
    ConceptScores,
    Pooling,
    Scoring,
    check_names,
    concept_vectors,
)


class ConceptHead(nn.Module):
    """Scores of concepts (n, N) → logits (n, k).

    Args:
        concepts: number N of concepts.
        class_count: number of classes k.

    Attributes:
        absent: (N,) the score of each concept on training images that show it least (5th percentile).
        present: (N,) the score on those that show it most (95th percentile).
    """

    absent: Tensor
    present: Tensor

    def __init__(self, concepts: int, class_count: int) -> None:
        super().__init__()
        self.standardise = Standardise(concepts)
        self.linear = nn.Linear(concepts, class_count)
        self.register_buffer("absent", torch.zeros(concepts))
        self.register_buffer("present", torch.ones(concepts))

    def forward(self, scores: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.linear(self.standardise(scores))
        return logits

    def contributions(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What each concept adds to the logit of each image's target: (n, N), (n,) → (n, N).

        W_{k,i} (s_i − mean_i) / deviation_i; with the bias b_k they add up to the logit.
        """
        added: Tensor = self.standardise(scores) * self.linear.weight[targets]
        return added


class ConceptBottleneck(nn.Module):
    """Prepared images (n, 3, h, w) in [0, 1] → logits (n, k). Its layer ``concepts`` gives the scores (n, N).

    Args:
        tower: frozen; its image side is shared.
        phrases: N concepts, each once.
        class_count: number of classes k.
        scoring: see :class:`~snellen.systems.concept_bottleneck.concept_scores.ConceptScores`.
        pooling: as scoring.
        questions: as scoring.
        templates: sentences with ``{}`` that phrases are put into.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        tower: TwoTower,
        phrases: Sequence[str],
        class_count: int,
        *,
        scoring: Scoring = "cosine",
        pooling: Pooling = "global",
        questions: Sequence[str] = (),
        templates: Sequence[str] = ("{}",),
    ) -> None:
        super().__init__()
        self.phrases = tuple(phrases)
        self.concepts = ConceptScores(
            tower.image_tower,
            concept_vectors(tower, phrases, templates),
            scoring=scoring,
            pooling=pooling,
            questions=questions,
            scale=tower.logit_scale,
        )
        self.head = ConceptHead(len(self.phrases), class_count)
        for name, values in zip(("mean", "std"), tower.normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        self.register_state_dict_post_hook(_leave_out_the_tower)
        self.register_load_state_dict_pre_hook(_put_in_the_tower)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.concepts((images - self.mean) / self.std))
        return logits

    def extra_repr(self) -> str:
        """The concepts, which decide what the columns of the head mean."""
        return f"phrases={self.phrases!r}"


def architecture(
    tower: TwoTower,
    reference: str,
    phrases: Sequence[str],
    class_count: int,
    *,
    scoring: Scoring,
    pooling: Pooling,
    questions: Sequence[str],
    templates: Sequence[str],
) -> dict[str, Any]:
    """The record in a card, from which :func:`build` makes the network again."""
    return {
        "name": "concept_bottleneck",
        "tower": reference,
        "identity": tower.identity(),
        "phrases": list(phrases),
        "class_count": class_count,
        "scoring": scoring,
        "pooling": pooling,
        "questions": list(questions),
        "templates": list(templates),
    }


def build(
    tower: str,
    identity: str,
    phrases: Sequence[str],
    class_count: int,
    scoring: Scoring,
    pooling: Pooling,
    questions: Sequence[str],
    templates: Sequence[str],
) -> ConceptBottleneck:
    """The network of a card: the tower by its reference, the concepts by their phrases, the head still to be loaded.

    Raises:
        InputError: no such tower, another one under that reference, or concepts that it cannot score.
    """
    check_names(scoring, pooling)
    loaded = load_two_tower(tower)
    if loaded.identity() != identity:
        raise InputError(
            f"{tower} has other weights than the tower that these concepts were scored by (hash "
            f"{loaded.identity()[:12]}… instead of {identity[:12]}…); put the same model there"
        )
    return ConceptBottleneck(
        loaded, phrases, class_count, scoring=scoring, pooling=pooling, questions=questions, templates=templates
    )


def _leave_out_the_tower(network: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}concepts.")]:
        del state[name]


def _put_in_the_tower(network: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    assert isinstance(network, ConceptBottleneck)
    for name, tensor in network.concepts.state_dict().items():
        state.setdefault(f"{prefix}concepts.{name}", tensor)
