"""Numbers that build the network, and its vocabulary: what the card of a video model holds."""

from __future__ import annotations

import re
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from snellen.core.errors import InputError, unknown_name

#: How the network gets the image: in place of a noisy frame (STIV), or as tokens of cross-attention, its rival.
ImageBy = Literal["replacement", "cross_attention"]

#: What the head gives: v itself, as published, or x₁, from which v = (x₁ − xₜ) / (1 − t) follows.
Head = Literal["velocity", "video"]

#: Rates of the rotary positions within a frame: falling from one radian a token on, as published; or whole turns over
#: the frame, so that one side is next to the other.
Rotary = Literal["falling", "whole_turns"]

#: Ids of tokens that are no words: filler, and the null text.
PAD, NULL = 0, 1

#: Ids in front of the words.
_MARKS = 2


class VideoArchitecture(BaseModel):
    """A diffusion transformer of short videos, in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(5, ge=1, description="of a video; 1: a model of images, without temporal layers")
    side: int = Field(16, ge=4, description="height and width, pixels")
    patch: int = Field(4, ge=1, description="height and width of a token, pixels")
    width: int = Field(64, ge=8, description="numbers of a token")
    blocks: int = Field(3, ge=1, description="each with spatial, temporal and cross attention, and an MLP")
    heads: int = Field(4, ge=1, description="of each attention")
    text_blocks: int = Field(2, ge=0, description="of the text encoder")
    words: tuple[str, ...] = Field(("a",), min_length=1, description="vocabulary of the text encoder")
    longest: int = Field(16, ge=1, description="words of a text, at most")
    causal: bool = Field(False, description="temporal attention to earlier frames alone: an ablation")
    image_by: ImageBy = Field("replacement", description="how the network gets the image")
    head: Head = Field(
        "video",
        description="velocity, as published; or video, from which it follows: in pixels, a small token cannot carry "
        "the noise of its patch",
    )
    pooled_text: bool = Field(
        True, description="the sum of the text's tokens is added to the vector of time, so that the text multiplies too"
    )
    rotary: Rotary = Field(
        "whole_turns",
        description="rates of rotary positions within a frame: falling, as published; or whole_turns, which join "
        "opposite sides",
    )
    query_key_norm: bool = Field(True, description="queries and keys are normalised")
    query_scale: bool = Field(
        True,
        description="heads learn a factor of their normalised queries, without which a small head attends to no place "
        "alone",
    )
    sandwich_norm: bool = Field(True, description="a norm behind each attention and MLP as well as in front")
    stateless_norm: bool = Field(True, description="norms have no learned scale")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.side % self.patch:
            raise ValueError(f"a side of {self.side} pixels cannot be cut into patches of {self.patch}")
        if self.width % (4 * self.heads):
            raise ValueError(
                f"rotary positions take heads of a multiple of 4 numbers; got a width of {self.width} and {self.heads} "
                f"heads"
            )
        if len(set(self.words)) < len(self.words):
            raise ValueError("a vocabulary holds each word once")
        return self

    @property
    def grid(self) -> int:
        """Tokens along one side of a frame."""
        return self.side // self.patch

    @property
    def vocabulary(self) -> int:
        """Ids of tokens: filler, null text, words."""
        return len(self.words) + _MARKS


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation.

    >>> words_of("A red star, moving left.")
    ['a', 'red', 'star', 'moving', 'left']
    """
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())


def tokens_of(texts: list[str], architecture: VideoArchitecture) -> Tensor:
    """Ids of the words of texts: int64 (n, longest), filled up with 0; an empty text is the null text.

    >>> tokens_of(["a star", ""], VideoArchitecture(words=("a", "star"), longest=3)).tolist()
    [[2, 3, 0], [1, 0, 0]]

    Raises:
        InputError: a text of too many words.
        UnknownNameError: a word that the model was not trained with.
    """
    places = {word: number for number, word in enumerate(architecture.words, start=_MARKS)}
    rows = torch.full((len(texts), architecture.longest), PAD)
    for row, text in enumerate(texts):
        words = words_of(text)
        if len(words) > architecture.longest:
            raise InputError(
                f"the text {text[:60]!r} has {len(words)} words, and this video model reads {architecture.longest}; "
                f"shorten it"
            )
        unknown = next((word for word in words if word not in places), None)
        if unknown is not None:
            raise unknown_name("word for this video model", unknown, places)
        rows[row, : max(1, len(words))] = torch.tensor([places[word] for word in words] or [NULL])
    return rows


def without_text(tokens: Tensor, with_text: Tensor) -> Tensor:
    """The null text in place of those that are dropped: tokens (n, l) and bool (n,) → (n, l)."""
    null = torch.full_like(tokens, PAD)
    null[:, 0] = NULL
    return torch.where(with_text[:, None], tokens, null)
