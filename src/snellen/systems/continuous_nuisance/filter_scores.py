"""The four scores of the filter, from a text–image model and a second encoder, and thresholds without labels.

Neither may be among the classifiers that are compared, nor be trained on their labels: a filter that shares a
classifier's mistakes removes the images on which it fails.

The published thresholds were set so that each removes 90 % of the images that people saw to be out of their class. Here
images of *other* classes stand for those: each trajectory is scored as if it were of another class, with the words of
that class and, as its reference, the image that a trajectory of that class begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.systems.continuous_nuisance.filtering import SCORES, threshold_removing
from snellen.systems.continuous_nuisance.words import class_prompt, shifted_prompt

#: The text–image model's prompts, as published: of a class, and how the words of a shift follow ("in heavy snow").
CLASS_TEXT = "a photo of a {}"
SHIFT_TEXT = "{} {}"

#: Images that are encoded together.
_TOGETHER = 128

#: Mean and deviation of all channels that the published code gives the second encoder.
_QUIRK = (0.5, 0.2)


@dataclass(frozen=True, eq=False)
class FilterEncoders:
    """Who scores.

    Args:
        text_image: gives three of the scores; published: CLIP ViT-B/16.
        second: gives the fourth; published: DINOv2 ViT-L/14 with registers.
        quirk: compare a softmax over the second encoder's numbers, of images normalised by mean 0.5 and deviation 0.2,
            as the published code does. Its threshold makes sense with that alone. By default plain cosines.
    """

    text_image: TwoTower
    second: FrozenEncoder
    quirk: bool = False

    def check_independent(self, classifiers: Sequence[Classifier]) -> None:
        """Refuse classifiers that are one of the encoders, by their weights.

        Raises:
            InputError: one is.
        """
        own = [_weights(self.text_image.image_tower.state_dict()), _weights(self.second.network.state_dict())]
        for classifier in classifiers:
            if classifier.module is None:
                continue
            theirs = _weights(classifier.module.state_dict())
            if any(encoder and encoder <= theirs for encoder in own):
                raise InputError(
                    f"{classifier.name} is an encoder of the filter too, which then hides its mistakes; filter with "
                    f"other encoders"
                )

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of both."""
        return {"filter's text-image model": self.text_image.identity(), "filter's encoder": self.second.identity}


def filter_scores(
    encoders: FilterEncoders,
    images: Tensor,
    class_names: Sequence[str],
    words: str,
    *,
    class_text: str = CLASS_TEXT,
    shift_text: str = SHIFT_TEXT,
) -> dict[str, NDArray[np.float64]]:
    """Scores of trajectories, (n, strengths) for each of :data:`~snellen.systems.continuous_nuisance.filtering.SCORES`.

    Args:
        encoders: who scores.
        images: float32 (n, strengths, 3, h, w) in [0, 1]; the first strength is the reference.
        class_names: words of the class of each trajectory.
        words: of the shift.
        class_text: the text–image model's prompt of a class.
        shift_text: how the words of the shift follow.

    Raises:
        InputError: images of another shape, or other numbers of classes.
    """
    if images.ndim != 5 or images.shape[2] != 3 or len(class_names) != len(images):
        raise InputError(
            f"trajectories are images (n, strengths, 3, h, w) with a class each; got {tuple(images.shape)} and "
            f"{len(class_names)} classes"
        )
    flat = images.flatten(0, 1)
    seen = _unit(_encoded(flat, encoders.text_image.preparation, encoders.text_image.encode_images))
    seen = seen.unflatten(0, images.shape[:2])
    asked = [class_prompt(class_text, name) for name in class_names]
    told = [shifted_prompt(text, words, shift_text) for text in asked]
    beside = [_unit(encoders.text_image.encode_texts(texts).cpu().double()) for texts in (asked, told)]
    vectors = _encoded(flat, encoders.second.preparation, _second(encoders)).unflatten(0, images.shape[:2])
    found = (
        100 * (seen * beside[0][:, None]).sum(2),
        100 * (seen * beside[1][:, None]).sum(2),
        (seen * seen[:, :1]).sum(2),
        reference_similarity(vectors, quirk=encoders.quirk),
    )
    return {name: values.numpy() for name, values in zip(SCORES, found, strict=True)}


def reference_similarity(vectors: Tensor, *, quirk: bool = False) -> Tensor:
    """Cosine of each image of a trajectory with its first one, of vectors (n, strengths, d): (n, strengths).

    >>> reference_similarity(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])).tolist()
    [[1.0, 0.0]]

    Args:
        vectors: raw.
        quirk: of their softmax, as published.
    """
    compared = _unit(vectors.softmax(2) if quirk else vectors)
    return (compared * compared[:, :1]).sum(2)


def _second(encoders: FilterEncoders) -> Callable[[Tensor], Tensor]:
    if not encoders.quirk:
        return encoders.second.encode
    mean, deviation = _QUIRK

    def encode(images: Tensor) -> Tensor:
        found: Tensor = encoders.second.network((images.to(encoders.second.device) - mean) / deviation)
        return found

    return encode


def _encoded(images: Tensor, preparation: Preprocessing, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Vectors of images, prepared as the encoder wants them: float64 (n, d) on the CPU."""
    with torch.no_grad():
        parts = [
            encode(torch.stack([preparation(to_image(image)) for image in part])).cpu().double()
            for part in images.split(_TOGETHER)
        ]
    return torch.cat(parts)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _weights(tensors: dict[str, Tensor]) -> frozenset[str]:
    """Hashes of the matrices of a network, under any names."""
    return frozenset(hash_tensors({"weight": tensor}) for tensor in tensors.values() if tensor.ndim > 1)


def thresholds_of_others(
    encoders: FilterEncoders,
    images: Mapping[str, Tensor],
    class_names: Sequence[str],
    *,
    share: float = 0.9,
    class_text: str = CLASS_TEXT,
    shift_text: str = SHIFT_TEXT,
) -> dict[str, float]:
    """A threshold for each score that removes a share of trajectories that are scored as another class.

    Args:
        encoders: who scores.
        images: trajectories by the words of their shift, float32 (n, strengths, 3, h, w) in [0, 1] each.
        class_names: words of the class of each of the n trajectories, of two classes at least.
        share: to remove.
        class_text: see :func:`~snellen.systems.continuous_nuisance.filter_scores.filter_scores`.
        shift_text: likewise.

    Raises:
        InputError: one class alone, or scores that are not finite.
    """
    others = [_another(row, class_names) for row in range(len(class_names))]
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for words, trajectories in images.items():
        mixed = torch.cat([trajectories[others, :1], trajectories[:, 1:]], 1)
        scores = filter_scores(
            encoders, mixed, [class_names[other] for other in others], words,
            class_text=class_text, shift_text=shift_text,
        )  # fmt: skip
        for name, values in scores.items():
            found[name] += values[:, 1:].ravel().tolist()
    return {name: threshold_removing(np.array(values), share) for name, values in found.items()}


def _another(row: int, class_names: Sequence[str]) -> int:
    """The next trajectory of another class; the last ones begin again."""
    count = len(class_names)
    for step in range(1, count):
        if class_names[(row + step) % count] != class_names[row]:
            return (row + step) % count
    raise InputError(
        f"thresholds without labels come from images of other classes, and there is {class_names[row]!r} alone: name "
        f"another class, give thresholds, or do not filter"
    )
