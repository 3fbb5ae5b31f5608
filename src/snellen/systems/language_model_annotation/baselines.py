"""What the collaboration is compared with: text similarity, descriptions, one direct question, and human labels.

- ``zero-shot``: cosine of image and name (Radford et al. 2021).
- ``descriptions``: cosine with the mean direction of the positive queries, in the manner of CuPL (Pratt et al. 2023).
- ``direct question``: "Is this …?", in the manner of a single request to PaLI-X.
- ``human labels``: the same student on labels of the owner, chosen at random, or by margin sampling in rounds of 100,
  as in Agile Modeling (Stretcu et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.randomness import derive_seed
from snellen.models.dual_encoders.zero_shot import TEMPLATE, mean_direction
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.language_model_annotation.annotation import Annotator
from snellen.systems.language_model_annotation.definition import Definition
from snellen.systems.language_model_annotation.ledger import Store
from snellen.systems.language_model_annotation.questions import Question
from snellen.systems.language_model_annotation.student import (
    StudentFit,
    fit_student,
    probabilities,
    smallest_margins,
)
from snellen.systems.language_model_annotation.tools import Answerer

#: Turns texts into vectors (n, d) in the space of the images.
Encode = Callable[[Sequence[str]], Tensor]


def text_similarity(encode: Encode, texts: Sequence[str], embeddings: Tensor) -> NDArray[np.float64]:
    """Cosine of every image with the mean direction of texts, moved into [0, 1], float64 (n,)."""
    direction = mean_direction(encode(texts).float())
    return ((F.normalize(embeddings.float(), dim=-1) @ direction).double().numpy() + 1) / 2


def zero_shot(encode: Encode, definition: Definition, embeddings: Tensor) -> NDArray[np.float64]:
    """Similarity with the name alone."""
    return text_similarity(encode, [TEMPLATE.replace("{}", definition.name)], embeddings)


def direct_question(answerer: Answerer, concept: Definition, store: Store) -> Annotator:
    """Decides by one question about the whole concept, without a caption; kept, repeated and limited like all labels.

    Args:
        answerer: answers it.
        concept: whose name and description it holds.
        store: of its labels, under a definition with one condition.
    """
    text = f"{concept.name} ({concept.description})"
    whole = Definition(name=concept.name, description=concept.description, necessary=(text[:300],))
    question = Question(
        condition=whole.conditions[0].id,
        question=f"Is this an image of {text}?"[:300],
        phrases=(concept.name,),
        instead=("something else",),
    )
    return Annotator(whole, (question,), None, answerer, None, store)


def human_labels(
    label: Callable[[int], int],
    embeddings: Tensor,
    pool: Sequence[int],
    *,
    start: Sequence[int],
    count: int,
    each: int,
    fit: StudentFit,
    seed: int,
) -> InstanceHead | None:
    """Agile Modeling in small: a person labels first images, and in rounds those with the smallest margin.

    Args:
        label: the owner, by row.
        embeddings: of all images, (n, d).
        pool: rows that may be labelled.
        start: rows of the first batch; those over ``count`` are left.
        count: labels in all.
        each: of a round.
        fit: numbers of the student.
        seed: of the student.

    Returns:
        The classifier; None where all labels have one class, so that none can be fitted.
    """
    allowed = set(pool)
    labels = {row: label(row) for row in start[:count] if row in allowed}
    others = set(range(len(embeddings))) - allowed
    order = np.random.default_rng(derive_seed(seed, "human labels")).permutation(sorted(allowed)).tolist()
    while True:
        both = len(set(labels.values())) == 2
        head = fit_student(embeddings, labels, owner=(), fit=fit, seed=seed) if both else None
        left = min(each, count - len(labels))
        if left < 1 or len(labels) >= len(allowed):
            return head
        if head is None:
            new = [row for row in order if row not in labels][:left]
        else:
            new = smallest_margins(probabilities(head, embeddings), left, without={*labels, *others})
        labels |= {row: label(row) for row in new}
