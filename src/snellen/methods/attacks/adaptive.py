"""Attacking through a defence that gradients do not pass.

Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018, arXiv 1802.00420, section
4.1 (backward pass differentiable approximation: the defence forwards, a smooth stand-in backwards).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError

#: Prepared images (n, 3, h, w) in [0, 1] → images of the same shape in [0, 1].
Defence = Callable[[Tensor], Tensor]


def through_defence(
    classifier: Classifier, defence: Defence, *, backward: Callable[[Tensor], Tensor] | None = None
) -> Classifier:
    """A classifier behind a defence of its input, with gradients that any attack can use.

    Scores, and so success, are those of the defended classifier. Each call counts once here and once on ``classifier``.

    >>> from torch import nn
    >>> plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> defended = through_defence(plain, lambda images: (images * 7).round() / 7)
    >>> images = torch.rand(1, 3, 2, 2, requires_grad=True)
    >>> (gradient,) = torch.autograd.grad(defended(images)[:, 0].sum(), images)
    >>> bool((gradient != 0).all())
    True

    Args:
        classifier: what stands behind the defence.
        defence: what is done to its input; it need not be differentiable, but must treat each image on its own.
        backward: a differentiable function near to the defence whose gradient stands in for it; by default the
            identity, right for defences that leave an image much as it was (quantisation, JPEG, denoising).

    Raises:
        InputError: when called, a defence or stand-in that changes the shape of the images.
    """

    def model(images: Tensor) -> Tensor:
        with torch.no_grad():
            defended = defence(images.detach())
        _check_shape("defence", defended, images)
        if images.requires_grad:
            smooth = images if backward is None else backward(images)
            _check_shape("backward function", smooth, images)
            defended = _Substituted.apply(defended, smooth)
        return classifier(defended)

    return Classifier(
        model,
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        task=classifier.task,
        output=classifier.output,
        differentiable=classifier.differentiable,
        name=f"{classifier.name} behind a defence",
        notes=(*classifier.notes, "gradients pass the defence by a stand-in (BPDA)"),
        device=classifier.device,
    )


class _Substituted(torch.autograd.Function):
    """The first argument forwards, the gradient of the second one backwards."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, defended: Tensor, _smooth: Tensor) -> Tensor:
        return defended.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def _check_shape(what: str, changed: Tensor, images: Tensor) -> None:
    if changed.shape != images.shape:
        raise InputError(
            f"the {what} turned images {tuple(images.shape)} into {tuple(changed.shape)}; it must keep their shape"
        )
