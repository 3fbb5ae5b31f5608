"""Classifiers that an attack on logits cannot be trusted on."""

from __future__ import annotations

from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.in_float64 import in_float64


def refuse_probabilities(scores: Tensor, classifier: Classifier, attack: str) -> None:
    """Refuse scores (n, k) that are probabilities called logits: their margins saturate, and the search goes blind.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1))
    >>> classifier = Classifier(model, class_names=["a", "b"], name="soft")
    >>> try:
    ...     refuse_probabilities(classifier(torch.rand(5, 3, 2, 2)), classifier, "the attack")
    ... except InputError as error:
    ...     print(str(error)[:54])
    soft gives probabilities, and the attack works on logi

    Raises:
        InputError: all scores lie in [0, 1] and every row sums to 1.
    """
    if classifier.task == "multilabel" or scores.shape[1] < 2 or not len(scores):
        return
    wide = in_float64(scores)
    if bool((wide >= 0).all()) and bool(((wide.sum(1) - 1).abs() < 1e-4).all()):
        raise InputError(
            f"{classifier.name} gives probabilities, and {attack} works on logits: leave out the model's last softmax, "
            f"or load the model with load_classifier, which takes their logarithms"
        )
