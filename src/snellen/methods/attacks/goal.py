"""What an attack of the verb ``snellen.attack`` is to reach: a mistake, a class, other decisions of several."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified, MultilabelChanged, Targeted
from snellen.core.errors import InputError, RejectedImageError, UnsupportedError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.method import Method

#: The record that an attack leaves, and how messages call the attack.
RECORD, WHAT = "attack.json", "attack"


@dataclass(frozen=True)
class Goal:
    """What counts as success, and for whom.

    Attributes:
        criterion: what counts.
        target: class to be taken for; None where any mistake will do.
        multilabel: whether an image has several labels.
    """

    criterion: Criterion
    target: int | None = None
    multilabel: bool = False

    def right(self, classifier: Classifier, scores: Tensor, labels: Tensor) -> Tensor:
        """Which images are right as they are: bool (n,); labels (n,), −1 where unknown, or (n, k)."""
        if self.multilabel:
            return ~self.criterion.success(scores, labels)
        return classifier.predict(scores) == labels

    def references(self, labels: Tensor) -> Tensor:
        """The labels that an attack is handed: targets of a targeted one."""
        return labels if self.target is None else torch.full_like(labels, self.target)

    def record(self, class_names: Sequence[str]) -> dict[str, Any]:
        """As JSON values, for a plan."""
        target = None if self.target is None else class_names[self.target]
        return {"criterion": type(self.criterion).__name__, "target": target}


def goal_of(classifier: Classifier, target: str | int | None) -> Goal:
    """The goal on this classifier.

    >>> goal_of(Classifier(lambda images: images, class_names=["cat", "dog"]), "dog").target
    1

    Args:
        classifier: gives the task and the classes.
        target: name of the class to be taken for, or its position; None: any mistake.

    Raises:
        InputError: no such class, or a class where images have several.
        UnsupportedError: the classifier decides something that no criterion here judges.
    """
    names = classifier.class_names
    if classifier.task == "multilabel":
        if target is not None:
            raise InputError(
                f"{classifier.name} gives several labels an image, and a target is one class; leave it out"
            )
        if classifier.output != "logits":
            raise UnsupportedError(
                f"{classifier.name} gives {classifier.output} for several labels an image, and attacks on those need "
                f"logits; leave out the model's last sigmoid"
            )
        return Goal(MultilabelChanged(), multilabel=True)
    if classifier.task not in ("single", "ordinal"):
        raise UnsupportedError(
            f"{classifier.name} is a classifier of the task {classifier.task!r}; snellen attack knows single, ordinal "
            f"and multilabel"
        )
    if len(names) < 2:
        raise UnsupportedError(f"{classifier.name} has one class, and an image cannot be taken for another")
    if target is None:
        return Goal(Misclassified())
    return Goal(Targeted(), class_number(classifier, target))


def class_number(classifier: Classifier, target: str | int) -> int:
    """Position of a class, given by name or position.

    >>> class_number(Classifier(lambda images: images, class_names=["cat", "dog"]), "dog")
    1

    Raises:
        UnknownNameError: no class of that name.
        InputError: no class at that position.
    """
    names = classifier.class_names
    if isinstance(target, str):
        if target not in names and not target.isdecimal():
            raise unknown_name(f"class of {classifier.name}", target, names)
        target = names.index(target) if target in names else int(target)
    if not 0 <= target < len(names):
        raise InputError(f"target {target} is no class of {classifier.name}; its classes are 0 to {len(names) - 1}")
    return target


def labels_of(images: ImageSet, goal: Goal, classes: int) -> Tensor:
    """Labels in the order of the set, int64: (n,), or (n, k) of 0/1; −1 where there is none.

    Raises:
        InputError: the set has labels of the other kind.
    """
    if not goal.multilabel:
        if not bool((images.labels >= 0).any()):
            raise InputError(f"{images.name} has several labels an image, and the classifier gives one class")
        return torch.from_numpy(np.ascontiguousarray(images.labels))
    rows = images.column("labels")
    if all(row is None for row in rows):
        raise InputError(
            f"{images.name} has one label an image, and the classifier several; give a column 'labels' with 0 or 1 for "
            f"each class"
        )
    return torch.tensor([[-1] * classes if row is None else row for row in rows], dtype=torch.int64)


def start_of(method: Method, classifier: Classifier, images: ImageSet, goal: Goal) -> Tensor | None:
    """The image (3, h, w) that a targeted search by decisions alone begins with; None where none is needed.

    It is the first image of the set that is of the target class and that the classifier takes for it.

    Raises:
        InputError: there is none.
    """
    if goal.target is None or "starts" not in inspect.signature(method.attack).parameters:  # type: ignore[attr-defined]
        return None
    for index in np.flatnonzero(images.labels == goal.target).tolist():
        try:
            prepared = classifier.prepare(images.read(index)).to(classifier.device)
        except RejectedImageError:
            continue
        with torch.no_grad():
            if int(classifier.predict(classifier(prepared[None]))[0]) == goal.target:
                return prepared
    raise InputError(
        f"{method.name} searches from an image of the target class, and {images.name} holds none of the class "
        f"{classifier.class_names[goal.target]!r} that {classifier.name} gets right"
    )
