"""What votes: a network, the part of the image that it depends on, and how a noisy part becomes its input.

Noise is added to the part, before everything else: views, denoisers and normalisation are functions of the noisy part
alone, without randomness, which is all that the proofs of :mod:`snellen.methods.smoothing.bounds` ask of them. Noisy
images are not cut to [0, 1].

A half is kept packed: (n, c, 2, h/2, w/2), the kept pixels of even rows and of odd rows. Nothing here mixes halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError, unknown_name
from snellen.models.classifiers.artifact_models import build_network

#: The halves: 0 holds the pixels whose row and column add up to an even number, 1 the others.
HALVES = (0, 1)

#: How a network is shown a half, see :data:`VIEWS`.
View = Literal["contrast", "zeros", "fill"]


def half_masks(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which pixels belong to each half: bool (h, w) twice; every pixel is in exactly one.

    >>> half_masks(2, 4)[0].int().tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1]]

    Raises:
        InputError: an odd height or width, which has no halves of equal size in every 2 x 2 block.
    """
    check_even(height, width)
    even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return even, ~even


def pick(images: Tensor, half: int) -> Tensor:
    """The pixels of a half, (n, c, h, w) → (n, c, 2, h/2, w/2).

    Raises:
        InputError: an odd height or width.
    """
    check_even(*images.shape[-2:])
    return torch.stack([images[..., 0::2, half::2], images[..., 1::2, 1 - half :: 2]], -3)


def place(packed: Tensor, half: int, others: Tensor | None = None) -> Tensor:
    """Put a packed half back to its pixels, (n, c, 2, h/2, w/2) → (n, c, h, w); the other pixels are 0.

    Args:
        packed: values of the kept pixels.
        half: which half they are.
        others: values of the other pixels, packed in the same way, instead of 0.

    >>> image = torch.rand(1, 3, 4, 6)
    >>> torch.equal(place(pick(image, 0), 0) + place(pick(image, 1), 1), image)
    True
    """
    count, channels, _, rows, columns = packed.shape
    canvas = packed.new_zeros(count, channels, 2 * rows, 2 * columns)
    canvas[..., 0::2, half::2], canvas[..., 1::2, 1 - half :: 2] = packed[:, :, 0], packed[:, :, 1]
    if others is not None:
        canvas[..., 0::2, 1 - half :: 2], canvas[..., 1::2, half::2] = others[:, :, 0], others[:, :, 1]
    return canvas


def contrast(packed: Tensor, half: int) -> Tensor:
    """The published view: to each kept pixel the maximum of its 2 x 2 block is added, in which the others are 0."""
    return place(packed + packed.amax(2, keepdim=True).clamp_min(0), half)


def filled(packed: Tensor, half: int) -> Tensor:
    """Other pixels are the mean of the kept ones above, below, left and right, as far as there are any."""
    even, odd = packed[:, :, 0], packed[:, :, 1]
    count, _, rows, columns = even.shape
    # In an even row, kept pixels stand at columns half, half + 2, …, in an odd one at the others: of the pixel between
    # two kept ones, the row's own neighbours are kept pixels here and one further (or before), the others' come from
    # the rows above and below, at the same place.
    total, number = even.new_zeros(count, even.shape[1], 2, rows, columns), even.new_zeros(2, rows, columns)
    for row, (own, vertical, step) in enumerate(((even, odd, 1 - 2 * half), (odd, even, 2 * half - 1))):
        total[:, :, row] += own + vertical
        number[row] += 2
        beside = slice(0, -1) if step == 1 else slice(1, None), slice(1, None) if step == 1 else slice(0, -1)
        total[:, :, row, :, beside[0]] += own[..., beside[1]]
        number[row, :, beside[0]] += 1
        # An even row has its further vertical neighbour above it, in the odd row before; an odd row below it.
        here, there = (slice(1, None), slice(0, -1)) if row == 0 else (slice(0, -1), slice(1, None))
        total[:, :, row, here] += vertical[..., there, :]
        number[row, here] += 1
    return place(packed, half, total / number)


#: Packed half (n, c, 2, h/2, w/2) and its number → images (n, c, h, w), as a function of that half alone.
VIEWS: dict[View, Callable[[Tensor, int], Tensor]] = {"contrast": contrast, "zeros": place, "fill": filled}


def check_even(height: int, width: int) -> None:
    """Refuse what has no halves.

    Raises:
        InputError: an odd height or width.
    """
    if height % 2 or width % 2:
        raise InputError(
            f"images of {height} x {width} pixels have no two interleaved halves; expected an even height and width: "
            f"resize or pad the images"
        )


#: Largest difference between the channels of an image that is called grey.
_GREY = 1e-6

#: Why an image cannot be classified under grey noise.
COLOURED = "noise that is the same in all channels is for grey images, and this one has colours; leave grey out"


@dataclass(frozen=True, eq=False)
class Branch:
    """One vote.

    Args:
        name: names its noise; branches of one classifier have different ones.
        network: images (n, 3, h, w), not bounded → scores (n, k).
        half: which half it sees; None for the whole image.
        view: how the half is laid out as an image.
        grey: one noise for all three channels.
        denoise: images (n, 3, h, w) → images, before the network.
        normalise: the same, between these; None: the network takes images as they are.
    """

    name: str
    network: Callable[[Tensor], Tensor]
    half: int | None = None
    view: View = "zeros"
    grey: bool = False
    denoise: Callable[[Tensor], Tensor] | None = None
    normalise: Callable[[Tensor], Tensor] | None = None

    def part(self, images: Tensor) -> Tensor:
        """What of the images (n, 3, h, w) the vote depends on: (n, …).

        Raises:
            InputError: images that are not grey, or an odd height or width.
        """
        if self.grey:
            if bool(is_coloured(images).any()):
                raise InputError(COLOURED)
            images = images.mean(1, keepdim=True)  # and not one of them: a gradient is then the same in all
        return images if self.half is None else pick(images, self.half)

    def scores(self, noisy: Tensor) -> Tensor:
        """Scores (n, k) of noisy parts (n, …)."""
        shown = noisy if self.half is None else VIEWS[self.view](noisy, self.half)
        if self.grey:
            shown = shown.expand(-1, 3, -1, -1)
        if self.denoise is not None:
            shown = self.denoise(shown)
        return self.network(shown if self.normalise is None else self.normalise(shown))


def is_coloured(images: Tensor) -> Tensor:
    """Which images (n, 3, h, w) differ between their channels: bool (n,)."""
    fixed = images.detach()
    return (fixed - fixed[:, :1]).abs().flatten(1).amax(1) > _GREY


def branches_of(
    classifier: Classifier,
    *,
    split_pixels: bool,
    view: View | None = None,
    grey: bool = False,
    denoise: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Branch, ...]:
    """The branches of a classifier: one for the whole image, or one for each half.

    A classifier that was trained for halves has a network for each; any other shows both halves to its one network.

    Args:
        classifier: with a module, in evaluation mode.
        split_pixels: whether there are two.
        view: of a half; None: the one that the classifier was trained for, else the published one, contrast.
        grey: one noise for all channels.
        denoise: images → images, before the networks.

    Raises:
        UnsupportedError: a classifier without a module, of several labels, or with networks of halves for whole images.
        InputError: a module whose votes would depend on each other: in training mode, or normalised over the batch.
    """
    module = classifier.module
    if module is None or classifier.task not in ("single", "ordinal"):
        why = "gives no module of torch, whose input may leave [0, 1]" if module is None else f"is {classifier.task}"
        raise UnsupportedError(f"smoothing needs a classifier of one label that is a module; {classifier.name} {why}")
    if any(part.training for part in module.modules()):
        raise InputError(
            f"{classifier.name} is in training mode, in which images of a batch change each other's scores; call "
            f"classifier.module.eval()"
        )
    if any(isinstance(part, _BatchNorm) and part.running_mean is None for part in module.modules()):
        raise InputError(
            f"{classifier.name} has a batch normalisation without running statistics, which takes those of the batch "
            f"also in evaluation mode: images change each other's scores; build it with track_running_stats=True"
        )
    pair = isinstance(module, SmoothedNetwork) and len(module.networks) == len(HALVES)
    if pair and not split_pixels:
        raise UnsupportedError(
            f"{classifier.name} has a network for each half of the image and none for whole images; use dual-smoothing"
        )

    if view is None:
        view = module.record.view if isinstance(module, SmoothedNetwork) and module.record.view else "contrast"
    whole = Branch("whole", module, view=view, grey=grey, denoise=denoise, normalise=classifier.normalise)
    if not split_pixels:
        return (replace(whole, network=partial(module, branch=0)) if pair else whole,)
    return tuple(
        replace(whole, name=f"half {half}", half=half, network=partial(module, branch=half) if pair else module)
        for half in HALVES
    )


@dataclass(frozen=True)
class NoiseRecord:
    """The noise that networks were trained under and are run under.

    Args:
        sigma: standard deviation of the noise, in [0, 1] pixel units.
        view: how a network is shown its half of the image; None for one network of whole images.
        grey: whether the noise is the same in all three channels, for grey images.
    """

    sigma: float
    view: View | None = None
    grey: bool = False


class SmoothedNetwork(nn.Module):
    """One network of whole images, or two of one half each.

    Called like any classifier it decides without noise: with one network by its scores, with two by the logarithm of
    their mean probabilities. That is not the smoothed classifier, for which a certificate uses :meth:`branch`.

    Args:
        network: record of the architecture that each network has.
        sigma, view, grey: see :class:`NoiseRecord`.
    """

    def __init__(
        self, *, network: Mapping[str, Any], sigma: float, view: View | None = None, grey: bool = False
    ) -> None:
        super().__init__()
        if not sigma > 0:
            raise InputError(f"a smoothed network needs noise of sigma > 0, got {sigma}")
        if view is not None and view not in VIEWS:
            raise unknown_name("view of a half", view, VIEWS)
        self.record = NoiseRecord(sigma, view, grey)
        count = 1 if view is None else len(HALVES)
        self.networks = nn.ModuleList(build_network(network, "a smoothed network") for _ in range(count))

    def forward(self, images: Tensor, branch: int | None = None) -> Tensor:
        """Scores (n, k) of images (n, 3, h, w): of one branch for what it is shown, or of all without noise."""
        if branch is not None:
            scores: Tensor = self.networks[branch](images)
            return scores
        if self.record.view is None:
            return self.forward(images, 0)
        view = VIEWS[self.record.view]
        each = [self.forward(view(pick(images, half), half), half).log_softmax(1) for half in HALVES]
        return torch.stack(each).logsumexp(0) - torch.tensor(float(len(HALVES))).log()


def architecture(network: Mapping[str, Any], noise: NoiseRecord) -> dict[str, Any]:
    """The record in a card, from which the networks are built again."""
    return {
        "name": "smoothed",
        "network": dict(network),
        "sigma": noise.sigma,
        "view": noise.view,
        "grey": noise.grey,
    }


def noise_of(module: object) -> NoiseRecord | None:
    """The recorded noise that a network was trained on; None without a record."""
    return module.record if isinstance(module, SmoothedNetwork) else None
