"""Parts of a small text–image model for a CPU: words as hashed counts, image tokens, and where in an image a text is.

Trained by contrast on images with sentences, they are to a small network what CLIP (Radford et al., ICML 2021) is to a
large one; the largest cosine over tokens is that of Yao et al., "FILIP", ICLR 2022.
"""

from __future__ import annotations

import hashlib
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Entries of the vector that a text becomes.
WORDS = 192


def word_vector(text: str) -> Tensor:
    """Words of a text as signed counts in :data:`WORDS` entries, by their hashes, of length one: float32 (WORDS,).

    >>> bool(torch.equal(word_vector("Red triangle"), word_vector("red, triangle!")))
    True
    """
    vector = torch.zeros(WORDS)
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        for at in (0, 4):
            number = int.from_bytes(digest[at : at + 4], "big")
            vector[number % WORDS] += 1 if number & (1 << 31) else -1
    return vector / vector.norm().clamp(min=1e-6)


class ImageTrunk(nn.Module):
    """Images (n, 3, h, w) in [0, 1] → tokens (n, m, width), one for each 8 × 8 pixels."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.width = width
        sizes = (3, width // 4, width // 2, width, width)
        strides = (2, 2, 2, 1)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(4, b), nn.GELU())
                for a, b, stride in zip(sizes, sizes[1:], strides, strict=False)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Tokens, row by row."""
        tokens: Tensor = self.layers(images - 0.5).flatten(2).transpose(1, 2)
        return tokens


class ImageEncoder(nn.Module):
    """Images → features (n, dim): mean and largest token, and a linear layer."""

    def __init__(self, width: int = 96, dim: int = 64) -> None:
        super().__init__()
        self.trunk = ImageTrunk(width)
        self.project = nn.Linear(2 * width, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Features, not normalised."""
        return self.pooled(self.trunk(images))

    def pooled(self, tokens: Tensor) -> Tensor:
        """Tokens (n, m, width) → features (n, dim)."""
        features: Tensor = self.project(torch.cat([tokens.mean(1), tokens.amax(1)], dim=1))
        return features


class Alignment(nn.Module):
    """Where in an image a text is: cosines of image tokens and words, and the largest of each text.

    A network that reads texts about images may begin with it, as LLaVA begins with the towers of CLIP.
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.keys, self.words = nn.Linear(width, width), nn.Linear(WORDS, width)

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """Tokens (n, m, width), texts (n, k, WORDS) or (k, WORDS) → largest cosines (n, k)."""
        seen, named = F.normalize(self.keys(tokens), dim=2), F.normalize(self.words(words), dim=-1)
        return (named @ seen.transpose(1, 2)).amax(2)
