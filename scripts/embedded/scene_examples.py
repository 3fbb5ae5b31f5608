"""Scenes as training examples, drawn when they are first read and kept as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.images import Split
from snellen.data.worlds.optotypes.rendering import VERSION, render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import LABELS

#: Scenes that are drawn together.
_TOGETHER = 256


def factor_numbers(scenes: Sequence[Scene], factors: Sequence[str]) -> Tensor:
    """Number of each factor's value in :data:`LABELS`, int64 (n, factors)."""
    return torch.tensor([[LABELS[name][0].index(LABELS[name][1](scene)) for name in factors] for scene in scenes])


class SceneExamples:
    """Pictures of scenes beside targets.

    Args:
        scenes: n records.
        size: pixels along each side.
        targets: (n, ...); None gives the masks of all objects, uint8 (n, 1, size, size).
        split: the split that the scenes are.
    """

    def __init__(self, scenes: Sequence[Scene], size: int, targets: Tensor | None, split: Split = "train") -> None:
        self.scenes, self.size, self.targets, self.split = scenes, size, targets, split
        self.ids = tuple(f"{split}/{scene.seed}" for scene in scenes)
        self.weights = torch.ones(len(scenes))
        self.rejected: Mapping[str, str] = {}
        self._pixels = torch.zeros(len(scenes), 3, size, size, dtype=torch.uint8)
        self._masks = torch.zeros(len(scenes), 1, size, size, dtype=torch.uint8)
        self._drawn = torch.zeros(len(scenes), dtype=torch.bool)

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of these positions."""
        self._draw(positions)
        targets = self._masks if self.targets is None else self.targets
        return self._pixels[positions], targets[positions]

    def images(self) -> Tensor:
        """All pictures, uint8 (n, 3, size, size)."""
        self._draw(torch.arange(len(self.ids)))
        return self._pixels

    def masks(self) -> Tensor:
        """All masks, uint8 (n, 1, size, size)."""
        self._draw(torch.arange(len(self.ids)))
        return self._masks

    def _draw(self, positions: Tensor) -> None:
        missing = positions[~self._drawn[positions]]
        for part in missing.split(_TOGETHER) if len(missing) else ():
            drawn = render([self.scenes[row] for row in part.tolist()], self.size)
            self._pixels[part] = drawn.pixels
            self._masks[part] = (drawn.coverage.sum(1, keepdim=True).clamp(0, 1) * 255).round().to(torch.uint8)
            self._drawn[part] = True

    def fingerprint(self) -> str:
        """Hash of the records and the targets (sha256, hex); the same records give the same pictures."""
        digest = hashlib.sha256(f"optotypes {VERSION} {self.size}".encode())
        for scene in self.scenes:
            digest.update(scene.to_json().encode())
        if self.targets is not None:
            digest.update(self.targets.contiguous().numpy().tobytes())
        return digest.hexdigest()


class EncodedExamples:
    """Other examples after an encoding, each encoded when it is first read.

    Args:
        examples: what is encoded.
        encode: images as :meth:`SceneExamples.read` gives them (m, ...) → float tensors (m, ...).
        shape: of one encoded image.
        named: what the encoder is, for the fingerprint.
    """

    def __init__(
        self, examples: SceneExamples, encode: Callable[[Tensor], Tensor], shape: tuple[int, ...], named: str
    ) -> None:
        self.examples, self.encode, self.named = examples, encode, named
        self.ids, self.weights, self.split, self.rejected = (
            examples.ids,
            examples.weights,
            examples.split,
            examples.rejected,
        )
        self._encoded = torch.zeros(len(self.ids), *shape)
        self._done = torch.zeros(len(self.ids), dtype=torch.bool)

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded images and targets of these positions."""
        missing = positions[~self._done[positions]]
        if len(missing):
            self._encoded[missing] = self.encode(self.examples.read(missing)[0]).float()
            self._done[missing] = True
        targets = self.examples.targets
        return self._encoded[positions], positions if targets is None else targets[positions]

    def fingerprint(self) -> str:
        """Hash of the examples and the name of the encoder (sha256, hex)."""
        return hashlib.sha256(f"{self.examples.fingerprint()} {self.named}".encode()).hexdigest()
