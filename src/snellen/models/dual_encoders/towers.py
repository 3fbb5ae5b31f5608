"""What a text–image model must offer, and the contract of two towers over networks and tokeniser of any library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.prepared_images import check_prepared
from snellen.models.tokens.token_rows import TextMemory, check_texts, fit, pad
from snellen.models.weights.state_dict_file import WeightsIdentity


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
    def preparation(self) -> Preprocessing:
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


#: Images, and texts, that go through a tower at a time.
BATCH = 64


class ImageTower(nn.Module, ABC):
    """Normalised images → raw vectors. Towers with patches give those too; transformers can be run in two halves."""

    has_patches = False

    #: Whether :meth:`tokens` and :meth:`of_tokens` are there: a transformer whose vector is that of its class token.
    has_tokens = False

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Encode: (n, 3, h, w) → (n, d)."""

    @abstractmethod
    def patches(self, images: Tensor) -> Tensor:
        """Encode patches, where ``has_patches``: (n, 3, h, w) → (n, rows, columns, d)."""

    def tokens(self, images: Tensor) -> Tensor:
        """What enters the layers, with positions, behind the first norm: (n, 3, h, w) → (n, 1 + patches, width)."""
        raise UnsupportedError(f"{type(self).__name__} cannot be run token by token")

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The other half, for any number of tokens, the class token first: (n, t, width) → (n, d)."""
        raise UnsupportedError(f"{type(self).__name__} cannot be run token by token")

    def patch_area(self) -> int:
        """Pixels of a patch, where ``has_tokens``."""
        raise UnsupportedError(f"{type(self).__name__} cannot be run token by token")


class TextTower(Protocol):
    """Tokens int64 (n, t), and 1 where a token is no filler (n, t) → raw vectors (n, d)."""

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode."""


@dataclass(frozen=True)
class Tokeniser:
    """How a model's texts become tokens.

    Attributes:
        encode: texts → their tokens with the marks at both ends, of any length.
        filler: the token that pads short texts.
        context_length: most tokens of a text, the marks included.
        full_length: whether texts are always padded to the whole context.
    """

    encode: Callable[[Sequence[str]], list[list[int]]]
    filler: int
    context_length: int
    full_length: bool


class Towers:
    """A :class:`~snellen.models.dual_encoders.towers.TwoTower` of two networks and a tokeniser.

    Networks given here are put into evaluation mode and frozen, in place.
    """

    def __init__(
        self,
        *,
        name: str,
        image_tower: ImageTower,
        text_tower: nn.Module,
        tokeniser: Tokeniser,
        preparation: Preprocessing,
        normalization: Normalization,
        dimension: int,
        logit_scale: float,
        logit_bias: float = 0.0,
        pairwise: bool = False,
        notes: Sequence[str] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        self.name, self.preparation, self.normalization = name, preparation, normalization
        self.dimension, self.logit_scale, self.logit_bias = dimension, logit_scale, logit_bias
        self.pairwise, self.notes, self.device = pairwise, tuple(notes), torch.device(device)
        self.context_length = tokeniser.context_length
        self.image_tower: ImageTower = image_tower.eval().requires_grad_(False).to(device)
        self.text_tower = text_tower.eval().requires_grad_(False).to(device)
        self._tokeniser = tokeniser
        self._identity = WeightsIdentity(self.image_tower, self.text_tower)
        self._memory = TextMemory(WeightsIdentity(self.text_tower))
        self._scale = tuple(torch.tensor(values, device=device).view(-1, 1, 1) for values in normalization)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preparation.size)) if self.preparation.size else "any size"
        return f"Towers({self.name!r}, {size}, {self.dimension} dimensions, {self.context_length} tokens)"

    def identity(self) -> str:
        """Hash of the weights of both towers as they are now (sha256)."""
        return self._identity()

    def encode_images(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → vectors (n, d), of length one, or raw with ``normalised=False``.

        Raises:
            InputError: images of another shape, type, size or range.
        """
        return self._through(self.image_tower, images, normalised)

    def encode_patches(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → vectors of their patches (n, rows, columns, d), in the same space.

        Raises:
            UnsupportedError: an image tower without patches.
            InputError: images of another shape, type, size or range.
        """
        if not self.image_tower.has_patches:
            raise UnsupportedError(f"{self.name} has one vector for each image and none for its patches")
        return self._through(self.image_tower.patches, images, normalised)

    def encode_texts(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d), of length one, or raw with ``normalised=False``; without gradients.

        A text is encoded once as long as the weights stay the same. ``truncate`` cuts texts that are too long.

        Raises:
            InputError: no texts, or one that is longer than the context; the message names it.
        """
        check_texts(texts, name=self.name)
        vectors = self._memory.vectors(self._rows(texts, truncate), self._encode_rows)
        return F.normalize(vectors, dim=-1) if normalised else vectors

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the text tower takes of texts: tokens int64 (n, t), and 1 where a token is no filler (n, t).

        Raises:
            InputError: no texts, or one that is longer than the context.
        """
        check_texts(texts, name=self.name)
        length = self.context_length if self._tokeniser.full_length else None
        tokens, mask = pad(self._rows(texts, False), filler=self._tokeniser.filler, length=length)
        return tokens.to(self.device), mask.to(self.device)

    def _rows(self, texts: Sequence[str], truncate: bool) -> list[list[int]]:
        rows = self._tokeniser.encode(texts)
        return fit(rows, texts, context=self.context_length, truncate=truncate, name=self.name)

    def _encode_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        length = self.context_length if self._tokeniser.full_length else None
        vectors = []
        with torch.no_grad():
            for start in range(0, len(rows), BATCH):
                tokens, mask = pad(rows[start : start + BATCH], filler=self._tokeniser.filler, length=length)
                vectors.append(self.text_tower(tokens.to(self.device), mask.to(self.device)))
        return torch.cat(vectors)

    def _through(self, tower: Callable[[Tensor], Tensor], images: Tensor, normalised: bool) -> Tensor:
        check_prepared(images, self.preparation.size, name=self.name)
        mean, std = self._scale
        parts = [tower((part - mean) / std) for part in images.to(self.device).split(BATCH)]
        vectors = parts[0] if len(parts) == 1 else torch.cat(parts)
        return F.normalize(vectors, dim=-1) if normalised else vectors
