"""The one number that an attribution explains: what a classifier gives an image for its target class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError

#: ``score``: as the classifier gives it (a logit, mostly); ``probability``: after softmax, or sigmoid of multilabel.
Explained = Literal["score", "probability"]

#: Images in one pass through the classifier, by default.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class TargetScore:
    """The explained score of candidates that were made of some images, each with a target of its own.

    Candidates come with their *rows*: which of the n images each was made of. One batch may therefore hold candidates
    of many images, and of one image as many as there are.

    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> score = TargetScore(classifier, torch.tensor([0, 1, 1]))
    >>> score.values(torch.rand(5, 3, 2, 2), torch.tensor([0, 0, 0, 2, 2])).shape
    torch.Size([5])

    Args:
        classifier: the model.
        targets: int64 (n,), the class whose score is explained, for each of the n images.
        of: see :data:`Explained`.
        chunk: candidates in one pass.

    Raises:
        InputError: targets that are no classes; a probability of a classifier that gives labels only.
    """

    classifier: Classifier
    targets: Tensor
    of: Explained = "probability"
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        classes = len(self.classifier.class_names)
        if self.targets.ndim != 1 or self.targets.is_floating_point():
            raise InputError(f"targets are classes, int64 (n,); got {self.targets.dtype} {tuple(self.targets.shape)}")
        if len(self.targets) and not (int(self.targets.min()) >= 0 and int(self.targets.max()) < classes):
            raise InputError(
                f"targets are classes from 0 to {classes - 1} of {self.classifier.name}; got "
                f"{int(self.targets.min())} to {int(self.targets.max())}"
            )
        if self.of == "probability" and self.classifier.output == "labels":
            raise InputError(f"{self.classifier.name} gives labels only, no probabilities; explain of='score'")
        if self.chunk < 1:
            raise InputError(f"a chunk holds at least one image, got {self.chunk}")

    def __call__(self, candidates: Tensor, rows: Tensor) -> Tensor:
        """Ask the classifier once: candidates (m, 3, h, w) in [0, 1] of the images ``rows`` (m,) → (m,)."""
        return self.of_scores(self.classifier(candidates), rows)

    def of_scores(self, scores: Tensor, rows: Tensor) -> Tensor:
        """The explained number of scores (m, k) that were computed elsewhere: (m,), differentiable."""
        targets = self.targets.to(scores.device)[rows.to(scores.device)][:, None]
        if self.of == "probability":
            if self.classifier.task != "multilabel":
                scores = F.softmax(scores, 1)
            else:
                scores = scores.sigmoid() if self.classifier.output == "logits" else scores.exp()
        return scores.gather(1, targets)[:, 0]

    def values(self, candidates: Tensor, rows: Tensor) -> Tensor:
        """The same without gradients, in chunks: float64 (m,) on the CPU. What is not finite stays so."""
        with torch.inference_mode():
            parts = [
                self(some, of).cpu().double()
                for some, of in zip(candidates.split(self.chunk), rows.split(self.chunk), strict=True)
                if len(some)
            ]
        return torch.cat(parts).clone() if parts else torch.zeros(0, dtype=torch.float64)

    def of_images(self, images: Tensor) -> Tensor:
        """The explained score of the n images themselves: float64 (n,) on the CPU."""
        return self.values(images, torch.arange(len(images)))
