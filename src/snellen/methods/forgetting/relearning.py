"""Whether forgotten images come back: a network that forgot is trained on with other images, and judged at each pass.

Forgetting that only hides images is undone by fine-tuning that never shows them (Hu, Fu, Wu and Smith, "Unlearning or
obfuscating? Jogging the memory of unlearned LLMs via benign relearning", ICLR 2025, arXiv 2406.13356; Suriyakumar et
al., "Unstable unlearning", 2024, arXiv 2410.08074). The same fine-tuning of a network that was retrained without the
images shows what they regain by generalisation alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels, numbered_class_names
from snellen.methods.forgetting.fine_tuning import FineTuning
from snellen.methods.forgetting.forgetter import Forgetting
from snellen.methods.forgetting.initial_weights import last_layers, redraw
from snellen.methods.forgetting.judging import Judgement
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import ImageStore
from snellen.training.parts import Labelled

#: Numbers of a pass: those of fine-tuning, in batches that leave small sets more than a few steps.
PASS = FineTuning(epochs=1, batch_size=64)

#: And of a pass over images of other classes: at ten times this rate a small network lost half of its test accuracy.
OTHER_PASS = FineTuning(epochs=1, batch_size=64, learning_rate=1e-3)


@dataclass(frozen=True, eq=False)
class Relearning:
    """Fine-tuning on images that are not to be forgotten.

    Attributes:
        images: that are trained on, prepared.
        passes: over them, at least 1.
        classes: of these images, where they are not those of the network. A last layer for them is trained in place of
            the network's. To be judged, the network gets its own back, and its own statistics of batches: those of
            other images alone would cost much of its accuracy. None: the labels are classes of the network.
        numbers: of a pass; its momentum begins anew. None: :data:`PASS`, or :data:`OTHER_PASS` with other classes.
        notes: on the images, for the certificate.
    """

    images: Labelled
    passes: int
    classes: int | None = None
    numbers: FineTuning | None = None
    notes: tuple[str, ...] = ()

    @property
    def of_pass(self) -> FineTuning:
        """Numbers of a pass."""
        return self.numbers or (PASS if self.classes is None else OTHER_PASS)

    def record(self) -> dict[str, Any]:
        """What can change a byte of the curve."""
        numbers = self.of_pass.model_dump(mode="json", exclude={"epochs"})
        return {"passes": self.passes, "images": self.images.fingerprint(), "classes": self.classes, **numbers}

    def curve(
        self, network: PreparedNetwork, judge: Callable[[PreparedNetwork], Judgement], rng: Randomness
    ) -> tuple[Judgement, ...]:
        """Figures behind each pass.

        Args:
            network: that forgot; it stays as it is.
            judge: gives the figures of a network.
            rng: of the order of images, and of a last layer.

        Raises:
            ModelError: the fine-tuning diverges.
            UnsupportedError: other classes, and a last layer that is not linear.
        """
        trained, found = copy.deepcopy(network), list[Judgement]()
        other = None if self.classes is None else _OtherTask.of(trained, self.images, self.classes, rng)
        for number in range(1, self.passes + 1):
            if other is not None:
                other.swap()
            self.of_pass.trained_on(trained, self.images, Forgetting(rng.child("pass", number)))
            if other is not None:
                other.swap()
            found.append(judge(trained.eval()))
        return tuple(found)


@dataclass(eq=False)
class _OtherTask:
    """A last layer and statistics of batches for other classes, which change places with those of a network."""

    network: PreparedNetwork
    name: str
    layer: nn.Linear
    statistics: dict[str, Tensor]

    @classmethod
    def of(cls, network: PreparedNetwork, images: Labelled, classes: int, rng: Randomness) -> _OtherTask:
        """For so many classes; statistics begin with those of the network."""
        pixels = images.read(torch.arange(1))[0].to(network.mean.device)
        ((name, last), *_) = last_layers(network, to_unit(pixels) if pixels.dtype == torch.uint8 else pixels, 1)
        if not isinstance(last, nn.Linear):
            raise UnsupportedError(
                f"images of other classes need a linear last layer, and {name} is a {type(last).__name__}; give images "
                f"of the classes of the classifier to fine-tune with"
            )
        layer = nn.Linear(last.in_features, classes).to(last.weight)
        redraw([layer], rng)
        return cls(network, name, layer, {key: one.clone() for key, one in network.named_buffers()})

    def swap(self) -> None:
        """Exchange."""
        parent, _, leaf = self.name.rpartition(".")
        held = self.network.get_submodule(self.name)
        assert isinstance(held, nn.Linear)
        setattr(self.network.get_submodule(parent), leaf, self.layer)
        self.layer = held
        for key, one in self.network.named_buffers():
            kept = one.clone()
            one.copy_(self.statistics[key])
            self.statistics[key] = kept


def relearning_images(
    images: ImageSet, class_names: Sequence[str], preparation: Preprocessing, forgotten: ImageSet
) -> tuple[ImageStore, int | None]:
    """Images to fine-tune with, prepared, and the number of their classes where these are others than the network's.

    Classes that are only numbered are others, unless the network's are numbered alike.

    Raises:
        InputError: no labels, one of the images to forget is among them, or one of their classes is the network's and
            another is not.
    """
    given = images.for_fitting()
    if not given.class_names or not given.has_labels:
        raise InputError(f"{given.name} has no labels, and fine-tuning after forgetting needs them; label its images")
    if again := int(np.isin(given.content_hashes, forgotten.content_hashes).sum()):
        raise InputError(
            f"{again} of {len(given)} images of {given.name} are to be forgotten; whether they come back is tested "
            f"with other images"
        )
    numbered = given.class_names == numbered_class_names(len(given.class_names))
    if not numbered or tuple(class_names) == given.class_names:
        try:
            return ImageStore.of_images(align_labels(given, class_names), preparation), None
        except InputError:
            if set(given.class_names) & set(class_names):
                raise
    return ImageStore.of_images(given, preparation), len(given.class_names)


def came_back(before: Judgement, after: Judgement, exact: Judgement | None) -> bool:
    """Whether forget images are surely more often right than before the passes, and than of exact retraining.

    >>> from snellen.runs.record import Figure
    >>> def wrong(share):
    ...     figure = Figure(value=share, low=share - 0.1, high=share + 0.1, n=100)
    ...     names = ("unlearning", "remaining", "test", "membership", "separation")
    ...     return Judgement(**dict.fromkeys(names, figure), attacked_with=1)
    >>> came_back(wrong(0.8), wrong(0.2), None), came_back(wrong(0.8), wrong(0.2), wrong(0.2))
    (True, False)

    Args:
        before: the network that forgot.
        after: the same behind the last pass.
        exact: a network that was retrained without them, behind the last pass; None: there is none.
    """
    others = [before] if exact is None else [before, exact]
    return all(float(after.unlearning.high or 0) < float(one.unlearning.low or 0) for one in others)
