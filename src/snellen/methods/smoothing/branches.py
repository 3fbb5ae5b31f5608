"""What votes: a network, the part of the image that it depends on, and how a noisy part becomes its input.

Noise is added to the part, before everything else: views, denoisers and normalisation are functions of the noisy part
alone, without randomness, which is all that the proofs of :mod:`snellen.methods.smoothing.bounds` ask of them. Noisy
images are not cut to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.smoothing.halves import HALVES, VIEWS, View, pick
from snellen.methods.smoothing.smoothed_network import SmoothedNetwork

#: Largest difference between the channels of an image that is called grey.
_GREY = 1e-6

#: Why an image cannot be asked under grey noise.
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
    halves: bool,
    view: View | None = None,
    grey: bool = False,
    denoise: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Branch, ...]:
    """The branches of a classifier: one for the whole image, or one for each half.

    A classifier that was trained for halves has a network for each; any other shows both halves to its one network.

    Args:
        classifier: with a module, in evaluation mode.
        halves: whether there are two.
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
    if pair and not halves:
        raise UnsupportedError(
            f"{classifier.name} has a network for each half of the image and none for whole images; use dual-smoothing"
        )

    if view is None:
        view = module.record.view if isinstance(module, SmoothedNetwork) and module.record.view else "contrast"
    whole = Branch("whole", module, view=view, grey=grey, denoise=denoise, normalise=classifier.normalise)
    if not halves:
        return (replace(whole, network=partial(module, branch=0)) if pair else whole,)
    return tuple(
        replace(whole, name=f"half {half}", half=half, network=partial(module, branch=half) if pair else module)
        for half in HALVES
    )
