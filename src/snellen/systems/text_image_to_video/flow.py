"""Flow matching of videos, and conditioning by frame replacement: xₜ = t·x₁ + (1 − t)·ε, v = x₁ − ε, loss ‖F − v‖².

Z. Lin et al. 2024, arXiv 2412.07730 (STIV). t = 0 is noise, t = 1 is the video. A given frame *replaces* the noisy one,
clean, and is left out of the loss; attention carries it to the other frames. No frame, the first, the first and last or
any others may be given, so that one network generates from text, continues an image, interpolates and predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness

Density = Literal["uniform", "logit_normal"]

#: What the squared error is of: v, or x₁, which is (1 − t)² times as much.
ErrorOf = Literal["velocity", "video"]

#: Which frames an example gives, where it gives any: the first; the first and last; the first few; any but all.
Pattern = Literal["first", "ends", "prefix", "any"]

#: The least share of the time that counts as left where a velocity follows from a video.
_LEAST_REST = 0.05


def on_path(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """xₜ = t·x₁ + (1 − t)·ε.

    >>> on_path(torch.ones(2, 1), torch.zeros(2, 1), torch.tensor([0.0, 0.75])).flatten().tolist()
    [0.0, 0.75]

    Args:
        clean: x₁, float (n, ...).
        noise: ε, of the same shape.
        times: t in [0, 1], (n,).
    """
    share = times.to(clean).reshape(-1, *[1] * (clean.ndim - 1))
    return share * clean + (1 - share) * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """V = x₁ − ε, the derivative of the path; one Euler step of length 1 − t from xₜ leads to x₁."""
    return clean - noise


def velocity_towards(video: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
    """V = (x₁ − xₜ) / (1 − t), the velocity that leads from xₜ to a video, float (n, ...).

    A network that gives x₁ need not carry the noise (T. Li and K. He 2025, arXiv 2511.13720). Less than 0.05 of the
    time counts as 0.05, since the velocity has no bound at the end.

    >>> velocity_towards(torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([0.5])).item()
    2.0

    Args:
        video: x₁ or an estimate of it, float (n, ...).
        noisy: xₜ, of the same shape.
        times: t in [0, 1], (n,).
    """
    rest = (1 - times.to(video)).clamp_min(_LEAST_REST).reshape(-1, *[1] * (video.ndim - 1))
    return (video - noisy) / rest


def replace_frames(videos: Tensor, clean: Tensor, replaced: Tensor) -> Tensor:
    """Put clean frames in place of noisy ones.

    Args:
        videos: xₜ, float (n, F, c, h, w).
        clean: x₁, of the same shape; read where frames are replaced.
        replaced: bool (n, F). A video without any has no image condition.
    """
    return torch.where(replaced[:, :, None, None, None], clean, videos)


def masked_loss(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error over what counts, (n,).

    Args:
        predicted: F, float (n, F, c, h, w).
        target: v, of the same shape.
        counted: bool, broadcast to these: not the replaced frames, not what was dropped.
    """
    weights = counted.expand_as(predicted).to(predicted.dtype)
    errors = ((predicted - target).square() * weights).flatten(1).sum(dim=1)
    return errors / weights.flatten(1).sum(dim=1).clamp_min(1)


def error_weights(times: Tensor, error_of: ErrorOf) -> Tensor:
    """Weights of the losses, (n,): (1 − t)² makes the error of v one of x₁, since x₁ = xₜ + (1 − t)·v.

    Errors of v at late times come from noise alone, and are large; what moves where is decided at early ones.

    >>> error_weights(torch.tensor([0.0, 0.5]), "video").tolist(), error_weights(torch.zeros(1), "velocity").tolist()
    ([1.0, 0.25], [1.0])
    """
    return (1 - times).square() if error_of == "video" else torch.ones_like(times)


def shifted(times: Tensor, shift: float) -> Tensor:
    """Times that lie nearer to noise: t / (t + s·(1 − t)) (P. Esser et al. 2024, section 5.3.2, in our direction).

    A large object shows through much noise. What decides where it goes happens at the very beginning, so that training
    and sampling spend more of their time there.

    >>> shifted(torch.tensor([0.0, 0.5, 1.0]), 4.0).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return times / (times + shift * (1 - times))


def draw_times(rng: Randomness, density: Density = "logit_normal", shift: float = 1.0) -> Tensor:
    """Times of training in (0, 1), float32 (n,); ``rng`` is bound to n examples."""
    if density == "uniform":
        return shifted(rng.uniform("time", (1,), 1e-4, 1 - 1e-4)[:, 0], shift)
    return shifted(torch.sigmoid(rng.normal("time", (1,))[:, 0]), shift)


@dataclass(frozen=True, eq=False)
class Conditions:
    """What each example gives.

    Attributes:
        replaced: frames that are given, bool (n, F).
        with_text: whether the text is, bool (n,).
    """

    replaced: Tensor
    with_text: Tensor

    @property
    def with_image(self) -> Tensor:
        """Whether any frame is given, bool (n,)."""
        return self.replaced.any(dim=1)


def draw_conditions(
    rng: Randomness, frames: int, *, image_dropout: float, text_dropout: float, patterns: Sequence[Pattern] = ("first",)
) -> Conditions:
    """Drop image and text, independently of each other: all four combinations occur.

    Args:
        rng: bound to n examples.
        frames: F.
        image_dropout: p_I; without frames an example is one of text to video, and all its frames count.
        text_dropout: p_T.
        patterns: which frames are given, each as likely.

    Raises:
        InputError: no pattern.
    """
    if not patterns:
        raise InputError("an example needs a pattern of given frames, such as 'first'")
    chosen = rng.integers("pattern", (1,), 0, len(patterns))[:, 0]
    scores, few = rng.uniform("frames", (frames,)), rng.integers("few", (1,), 1, max(2, frames))
    rows = torch.stack([given_frames(one, scores, few[:, 0]) for one in patterns])
    replaced = rows[chosen, torch.arange(len(chosen))]
    keeps_image = rng.uniform("image", (1,))[:, 0] >= image_dropout
    return Conditions(replaced & keeps_image[:, None], rng.uniform("text", (1,))[:, 0] >= text_dropout)


def given_frames(pattern: Pattern, scores: Tensor, few: Tensor) -> Tensor:
    """Frames that a pattern gives, bool (n, F); at least one is left to generate where there are two or more.

    Args:
        pattern: its name.
        scores: a random number for each frame, (n, F).
        few: how many, in 1 … F − 1, (n,); of ``prefix`` and ``any``.
    """
    count, frames = scores.shape
    places = torch.arange(frames).expand(count, frames)
    if frames == 1:
        return torch.zeros(count, 1, dtype=torch.bool)
    if pattern == "first" or (pattern == "ends" and frames == 2):
        return places == 0
    if pattern == "ends":
        return (places == 0) | (places == frames - 1)
    if pattern == "prefix":
        return places < few[:, None]
    return scores.argsort(dim=1).argsort(dim=1) < few[:, None]


def check_generated(replaced: Tensor) -> None:
    """Refuse videos whose frames are all given.

    Raises:
        InputError: there is nothing to generate.
    """
    full = replaced.all(dim=1)
    if bool(full.any()):
        raise InputError(
            f"video {int(full.nonzero()[0])} has all of its {replaced.shape[1]} frames given, so there is nothing to "
            f"generate; leave at least one away"
        )
