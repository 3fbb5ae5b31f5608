"""Scores of named concepts: how well phrases say what an image shows, by a frozen text–image model.

Yan et al., "Robust and Interpretable Medical Image Classifiers via Concept Bottleneck Models" (MedCBM), arXiv
2310.03182, with v(x) a vector of the image, P_p(x) vectors of its patches and t_i that of concept i, all of length one:

- cosine, global: s_i = v · t_i; over patches: s_i = max_p P_p · t_i, or the mean. The paper's score.
- answer (not in the paper): concepts come as alternatives, each group the possible answers of one question, and
  s_i = exp(τ c_i) / Σ_{j in the group of i} exp(τ c_j), with c the cosines and τ the model's own temperature. What all
  answers of a question share, such as how much the background looks like grass, cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError, UnsupportedError, unknown_name
from snellen.models.dual_encoders.towers import ImageTower, TwoTower
from snellen.models.dual_encoders.zero_shot import fill_templates, mean_direction

Scoring = Literal["cosine", "answer"]
Pooling = Literal["global", "max", "mean"]


def pooled_cosines(vectors: Tensor, concepts: Tensor, pooling: Pooling = "global") -> Tensor:
    """Cosines of images, or of their patches, with concepts.

    >>> pooled_cosines(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.eye(2), "mean")
    tensor([[0.5000, 0.5000]])

    Args:
        vectors: of images (n, d), or of patches (n, p, d) where ``pooling`` is over patches; any lengths.
        concepts: (N, d).
        pooling: ``global``, or ``max`` or ``mean`` over patches.

    Returns:
        (n, N), each in [−1, 1].

    Raises:
        InputError: vectors of another shape or length.
    """
    wanted = 2 if pooling == "global" else 3
    if vectors.ndim != wanted or concepts.ndim != 2 or vectors.shape[-1] != concepts.shape[1]:
        of = "images (n, d)" if wanted == 2 else "patches (n, p, d)"
        raise InputError(
            f"{pooling} scores are of vectors of {of} and of concepts (N, d) of the same length d; got "
            f"{tuple(vectors.shape)} and {tuple(concepts.shape)}"
        )
    cosines = F.normalize(vectors, dim=-1) @ F.normalize(concepts, dim=-1).T
    return cosines if pooling == "global" else cosines.amax(1) if pooling == "max" else cosines.mean(1)


def answer_shares(cosines: Tensor, questions: Sequence[str], scale: float) -> Tensor:
    """How sure the model is of each answer among the answers of its question.

    >>> answer_shares(torch.tensor([[0.5, 0.5, 0.9]]), ["colour", "colour", "shape"], 10.0)
    tensor([[0.5000, 0.5000, 1.0000]])

    Args:
        cosines: (n, N).
        questions: which one each concept answers (N).
        scale: what cosines are multiplied by before the softmax.

    Returns:
        (n, N); those of one question add up to 1.
    """
    members = [[place for place, one in enumerate(questions) if one == name] for name in dict.fromkeys(questions)]
    shares = torch.cat([(scale * cosines[:, places]).softmax(1) for places in members], 1)
    order = [place for places in members for place in places]
    return shares[:, torch.tensor(order, device=cosines.device).argsort()]


def concept_vectors(tower: TwoTower, phrases: Sequence[str], templates: Sequence[str] = ("{}",)) -> Tensor:
    """Vectors of phrases (N, d), each of length one: the mean direction over the templates that the phrase is put into.

    Raises:
        InputError: no phrases, one twice, one that is too long, or one whose vector is not finite or has another length
            than those of images; the message names it.
    """
    texts = fill_templates(phrases, templates)
    flat = tower.encode_texts([text for of in texts.values() for text in of])
    if flat.shape[1] != tower.dimension:
        raise InputError(
            f"{tower.name} gives texts vectors of {flat.shape[1]} numbers and images of {tower.dimension}: the two "
            f"sides do not belong together"
        )
    found = []
    for phrase, part in zip(texts, flat.split(len(templates)), strict=True):
        if not bool(torch.isfinite(part).all()):
            raise InputError(f"{tower.name}: the vector of the concept {phrase!r} is not finite")
        found.append(mean_direction(part))
    return torch.stack(found)


class ConceptScores(nn.Module):
    """An image tower and vectors of concepts: normalised images (n, 3, h, w) → scores (n, N).

    Args:
        image_tower: normalised images → raw vectors (n, d); of patches where ``pooling`` is over them.
        concepts: vectors (N, d).
        scoring: see the module.
        pooling: see the module.
        questions: which question each concept answers (N); used by ``answer`` alone.
        scale: temperature τ of ``answer``.

    Raises:
        UnsupportedError: pooling over patches by a tower that has none.
        InputError: no questions, or one with a single answer, where scores are answers.
    """

    vectors: Tensor

    def __init__(
        self,
        image_tower: nn.Module,
        concepts: Tensor,
        *,
        scoring: Scoring = "cosine",
        pooling: Pooling = "global",
        questions: Sequence[str] = (),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if pooling != "global" and not (isinstance(image_tower, ImageTower) and image_tower.has_patches):
            raise UnsupportedError(
                f"pooling {pooling!r} is over patches, and this model has one vector for each image alone; "
                f"use pooling 'global'"
            )
        if scoring == "answer":
            check_questions(questions, len(concepts))
        self.image_tower = image_tower
        self.register_buffer("vectors", concepts.detach().clone(), persistent=False)
        self.scoring, self.pooling, self.questions, self.scale = scoring, pooling, tuple(questions), scale

    def forward(self, images: Tensor) -> Tensor:
        """Score."""
        if self.pooling == "global":
            seen = self.image_tower(images)
        else:
            assert isinstance(self.image_tower, ImageTower)
            seen = self.image_tower.patches(images).flatten(1, 2)
        return self.of_vectors(seen)

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Scores of images whose vectors are known: (n, d), or (n, p, d) of patches → (n, N)."""
        cosines = pooled_cosines(vectors, self.vectors, self.pooling)
        return answer_shares(cosines, self.questions, self.scale) if self.scoring == "answer" else cosines

    def extra_repr(self) -> str:
        """What decides scores and is no tensor."""
        return f"scoring={self.scoring!r}, pooling={self.pooling!r}, questions={self.questions!r}, scale={self.scale!r}"


def check_questions(questions: Sequence[str], count: int) -> None:
    """Refuse concepts that are no alternatives.

    Raises:
        InputError: not one question for each concept, or a question with a single answer; the message names it.
    """
    if len(questions) != count or not all(questions):
        raise InputError(
            "answers are scored among the answers of one question: give the concepts as lists by question, such as "
            '{"texture": ["plain", "striped"]} in a .json file, or use the scoring cosine'
        )
    lonely = [name for name in dict.fromkeys(questions) if list(questions).count(name) < 2]
    if lonely:
        raise InputError(
            f"the question {lonely[0]!r} has one answer only, which is always right: give it another, such as its "
            f"absence, or use the scoring cosine"
        )


def check_names(scoring: str, pooling: str) -> None:
    """Refuse a scoring or pooling of a card that is not known.

    Raises:
        UnknownNameError: as above.
    """
    if scoring not in ("cosine", "answer"):
        raise unknown_name("scoring", scoring, ("cosine", "answer"))
    if pooling not in ("global", "max", "mean"):
        raise unknown_name("pooling", pooling, ("global", "max", "mean"))
