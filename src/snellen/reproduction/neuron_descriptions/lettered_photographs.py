"""Photographs with a word in a corner: the shortcut of the published edit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing

#: Height of the letters, in sides of the image.
_HEIGHT = 0.12


def with_word(picture: Image.Image, word: str | None) -> Image.Image:
    """A picture with a word on a plain ground in its lower left corner; None leaves it as it is."""
    if word is None:
        return picture
    lettered = picture.convert("RGB")
    size = max(8, round(_HEIGHT * lettered.height))
    drawn, font = ImageDraw.Draw(lettered), ImageFont.load_default(size)
    box = drawn.textbbox((0, lettered.height), word, font=font, anchor="lb")
    drawn.rectangle(box, fill="white")
    drawn.text((0, lettered.height), word, fill="black", font=font, anchor="lb")
    return lettered


@dataclass(frozen=True, eq=False)
class LetteredPhotographs:
    """Some images of a set as a model sees them, each with its word; read from the disk when they are needed.

    Attributes:
        images: where they come from.
        rows: which of them.
        words: of each of these; None for none.
        preparation: resize and crop, before the word is written.
        split: of a training.
    """

    images: ImageSet
    rows: tuple[int, ...]
    words: tuple[str | None, ...]
    preparation: Preprocessing
    split: Split | None = "train"
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images."""
        return tuple(self.images.ids[row] for row in self.rows)

    @property
    def weights(self) -> Tensor:
        """1 for each."""
        return torch.ones(len(self.rows))

    @property
    def targets(self) -> Tensor:
        """Labels, int64 (n,)."""
        return torch.from_numpy(self.images.labels)[list(self.rows)]

    def pictures(self, positions: Sequence[int]) -> Tensor:
        """Bytes (n, 3, h, w)."""
        found = []
        for position in positions:
            seen = self.preparation.pixels(self.images.read(self.rows[position]))
            plain = Image.fromarray(seen.permute(1, 2, 0).numpy())
            lettered = with_word(plain, self.words[position])
            found.append(torch.frombuffer(bytearray(lettered.tobytes()), dtype=torch.uint8).view(*seen.shape[1:], 3))
        return torch.stack(found).permute(0, 3, 1, 2)

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes (n, 3, h, w) and labels (n,)."""
        return self.pictures(positions.tolist()), self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of images, words and preparation (sha256, hex)."""
        rows = zip(self.ids, self.words, self.targets.tolist(), strict=True)
        return hashlib.sha256(repr((self.images.name, tuple(rows), self.preparation)).encode()).hexdigest()

    def as_images(self) -> ImageSet:
        """The same as a set of images, to find what excites units."""
        table = pa.table({"id": list(self.ids), "label": self.targets.tolist()})
        return ImageSet(_Source(self), table, self.images.class_names, name=f"{self.images.name} with words")


@dataclass(frozen=True, eq=False)
class _Source:
    photographs: LetteredPhotographs

    def read(self, index: int) -> Image.Image:
        """The picture as a model sees it."""
        return Image.fromarray(self.photographs.pictures([index])[0].permute(1, 2, 0).numpy())

    def content_hash(self, index: int) -> str:
        """Hash of image and word."""
        own = self.photographs
        return hashlib.sha256(f"{own.ids[index]}\0{own.words[index]}\0{own.preparation}".encode()).hexdigest()
