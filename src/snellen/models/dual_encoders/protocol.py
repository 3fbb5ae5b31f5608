"""What a text–image model must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.preparation import Preparation


class TwoTower(Protocol):
    """An image tower and a text tower into one space of ``dimension`` numbers, in which cosines are compared.

    Images are prepared as for a classifier: float (n, 3, h, w) in [0, 1], made by ``preparation``; they are normalised
    inside. The image side is differentiable with respect to the images. Parameters are frozen at loading; a caller that
    trains a part of ``image_tower`` unfreezes it and gets gradients through the same methods.
    """

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def preparation(self) -> Preparation:
        """The model's own resize and crop."""

    @property
    def normalization(self) -> Normalization:
        """Mean and std that the image tower wants, applied inside."""

    @property
    def dimension(self) -> int:
        """Length d of a vector."""

    @property
    def context_length(self) -> int:
        """Most tokens of a text, the marks at its beginning and end included."""

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by to be logits: the inverse temperature itself, not its logarithm."""

    @property
    def logit_bias(self) -> float:
        """What is added to scaled cosines; zero for models trained with softmax."""

    @property
    def pairwise(self) -> bool:
        """Whether logits were trained with a sigmoid for each pair (SigLIP) rather than a softmax over pairs (CLIP)."""

    @property
    def image_tower(self) -> nn.Module:
        """Normalised images (n, 3, h, w) → raw vectors (n, d)."""

    @property
    def device(self) -> torch.device:
        """Where the model runs, and where vectors are."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the loader found remarkable; shown in reports."""

    def identity(self) -> str:
        """Hash of the weights of both towers as they are now (sha256)."""

    def encode_images(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → vectors (n, d), of length one, or raw with ``normalised=False``.

        Raises:
            InputError: images of another shape, type, size or range.
        """

    def encode_patches(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → vectors of their patches (n, rows, columns, d), in the same space.

        Raises:
            UnsupportedError: an image tower without patches.
        """

    def encode_texts(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d), of length one, or raw with ``normalised=False``; without gradients.

        A text is encoded once as long as the weights stay the same. ``truncate`` cuts texts that are too long.

        Raises:
            InputError: no texts, or one that is longer than the context; the message names it.
        """
