"""The only way to the classifier: images in, answers out, counted, batched and never repeated.

It sees scores, takes no gradient, and knows the classifier by its call alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.systems.feature_guided_search.manipulation import Instructions, Manipulated
from snellen.systems.feature_guided_search.paths import Answer
from snellen.systems.feature_guided_search.severity import Severity


class Request(NamedTuple):
    """A changed image that someone wants to know about: position of the clean one, and instructions int8 (h·w,)."""

    row: int
    instructions: Instructions


def key_of(instructions: Instructions) -> bytes:
    """A hash of a changed image, given its clean image and the manipulation."""
    return hashlib.blake2b(instructions.tobytes(), digest_size=16).digest()


class Oracle:
    """Answers about the changed images of a batch.

    Args:
        classifier: called on candidates, and nothing else.
        images: clean and manipulated images.
        labels: (n,) or (n, k), what the criterion is judged against.
        criterion: what counts as success.
        severity: of the changed images.
        budget: queries of each image.
        batch_size: images sent through the classifier at once, at most.
        confidence: whether the probability of the label is given.

    Attributes:
        queries: images of each row sent through the classifier: (n,).
        batch_sizes: of every call of the classifier, in order.
        not_finite: rows that met scores that are NaN or infinite.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Manipulated,
        labels: Tensor,
        *,
        criterion: Criterion,
        severity: Severity,
        budget: int,
        batch_size: int,
        confidence: bool = False,
    ) -> None:
        self.images, self.severity, self.batch_sizes = images, severity, list[int]()
        self.queries = np.zeros(len(images.images), dtype=np.int64)
        self.not_finite: set[int] = set()
        self._classifier, self._labels, self._criterion = classifier, labels, criterion
        self._budget, self._batch_size, self._confidence = budget, batch_size, confidence
        self._known: list[dict[bytes, Answer]] = [{} for _ in range(len(images.images))]

    def recall(self, row: int, instructions: Instructions, *, limit: float, below: float) -> Answer | None:
        """What is known without a query: the answer of an earlier one, or that the image is outside; else None.

        Outside are images further away than ``limit``, and those as far as ``below`` or further, which could improve
        nothing.
        """
        severity = self.severity.of(row, instructions)
        if severity > limit or severity >= below:
            return Answer(False, True, severity, math.nan)
        return self._known[row].get(key_of(instructions))

    def ask(self, requests: Sequence[Request]) -> list[Answer | None]:
        """Answer every request; None where the budget of its image is spent. What comes twice is one query."""
        answers: list[Answer | None] = [None] * len(requests)
        places: dict[tuple[int, bytes], list[int]] = {}
        for place, request in enumerate(requests):
            key = (request.row, key_of(request.instructions))
            if key in places:
                places[key].append(place)
            elif self.queries[request.row] < self._budget:
                self.queries[request.row] += 1
                places[key] = [place]
        firsts = [same[0] for same in places.values()]
        looked: list[tuple[bool, float]] = []
        for start in range(0, len(firsts), self._batch_size):
            looked += self._look([requests[place] for place in firsts[start : start + self._batch_size]])
        for (key, same), (met, confidence) in zip(places.items(), looked, strict=True):
            row, instructions = requests[same[0]]
            answer = Answer(met, False, self.severity.of(row, instructions), confidence)
            self._known[row][key[1]] = answer
            for place in same:
                answers[place] = answer
        return answers

    def _look(self, requests: Sequence[Request]) -> list[tuple[bool, float]]:
        """One call of the classifier: whether each candidate meets the criterion, and its confidence."""
        device = self.images.images.device
        rows = torch.tensor([request.row for request in requests], device=device)
        told = torch.from_numpy(np.stack([request.instructions for request in requests])).to(device)
        self.batch_sizes.append(len(requests))
        scores = self._classifier(self.images.candidates(rows, told))
        labels = self._labels[rows]
        finite = scores.isfinite().flatten(1).all(1)
        self.not_finite.update(rows[~finite].tolist())
        met = (finite & self._criterion.success(scores, labels)).tolist()
        if not self._confidence:
            return [(one, math.nan) for one in met]
        own = self._classifier.probabilities(scores).gather(1, labels[:, None]).squeeze(1)
        return list(zip(met, own.tolist(), strict=True))
