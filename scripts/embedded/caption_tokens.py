"""Captions of scenes as tokens, made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from scene_tokenizer import LENGTH
from scene_world import LEFT_OUT, short_captions
from torch import Tensor
from transformers import CLIPTokenizer

from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.described import Factor
from snellen.data.worlds.optotypes.scene import Scene

#: Captions of each scene, one of which is drawn at each step.
VARIANTS = 4


class CaptionTokens:
    """Draws a caption for each scene of a batch.

    Args:
        tokenizer: turns texts into tokens.
        scenes: n records.
        left_out: how often each factor is left out.
        others: further records (m), whose captions leave out by a rule of their own.
        seed: of the captions.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        scenes: Sequence[Scene],
        left_out: Mapping[Factor, float] = LEFT_OUT,
        *,
        others: tuple[Sequence[Scene], Mapping[Factor, float]] = ((), LEFT_OUT),
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.parts, self.seed = tokenizer, ((scenes, left_out), others), seed

    def __call__(self, positions: Tensor, rng: Randomness) -> Tensor:
        """Tokens (m, LENGTH) of the scenes at these positions (m,)."""
        variants = rng.integers("caption", (1,), 0, VARIANTS)[:, 0]
        found = torch.zeros(len(positions), LENGTH, dtype=torch.long)
        first = len(self.parts[0][0])
        for variant in range(VARIANTS):
            for number, (scenes, left_out) in enumerate(self.parts):
                rows = ((variants == variant) & ((positions >= first) == bool(number))).nonzero().flatten()
                if len(rows):
                    drawn = [scenes[place] for place in (positions[rows] - first * number).tolist()]
                    found[rows] = self.tokens(short_captions(drawn, seed=self.seed + variant, left_out=left_out))
        return found

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Texts as tokens (m, LENGTH); the few that are longer are cut before their end token."""
        encoded = self.tokenizer(
            list(texts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        tokens: Tensor = encoded["input_ids"]
        return tokens
