"""What a segmenter must offer, what it gives back, and images and prompts that it can rely on."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError

Prompt = Literal["points", "boxes"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmented:
    """Masks of m prompts, and every candidate they were chosen from.

    >>> found = Segmented(
    ...     candidates=torch.tensor([[[[0.2, 0.9]], [[0.7, 0.6]]]]), predicted=torch.tensor([[0.4, 0.8]]),
    ...     chosen=torch.tensor([1]), rule="the highest predicted overlap",
    ... )
    >>> found.masks.tolist(), found.quality.tolist(), found.regions.tolist()
    ([[[0.699..., 0.600...]]], [0.800...], [[[True, True]]])

    Attributes:
        candidates: float32 (m, c, h, w) in [0, 1], the probability that a pixel belongs to the object, in the pixels of
            the given images. One candidate where the model gives a single mask.
        predicted: float32 (m, c), the overlap (intersection over union) with the true mask that the model predicts of
            each candidate, as it comes out of the model: it may leave [0, 1]. NaN where a model predicts none.
        chosen: int64 (m,), the candidate that is the mask.
        rule: how it was chosen, in words.
    """

    candidates: Tensor
    predicted: Tensor
    chosen: Tensor
    rule: str

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def masks(self) -> Tensor:
        """The chosen masks: float32 (m, h, w) in [0, 1]."""
        return self.candidates[torch.arange(len(self), device=self.chosen.device), self.chosen]

    @property
    def quality(self) -> Tensor:
        """The predicted overlap of the chosen masks: float32 (m,); NaN where the model predicts none."""
        return self.predicted[torch.arange(len(self), device=self.chosen.device), self.chosen]

    @property
    def regions(self) -> Tensor:
        """The pixels that more likely belong to the object than not: bool (m, h, w)."""
        return self.masks > 0.5


class Segmenter(Protocol):
    """Images and prompts → masks. Frozen, without gradients; the same call gives the same masks.

    Prompts are in pixels of the given images: x to the right, y down, and (0, 0) is the *centre of the first pixel*, so
    that integers name pixels. A mask tensor is indexed [row, column], which is [y, x].
    """

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def prompts(self) -> frozenset[Prompt]:
        """The prompts it takes (at least one is needed); empty: it takes none and finds the salient object."""

    @property
    def device(self) -> torch.device:
        """Where the model runs, and where masks are."""

    def identity(self) -> str:
        """Hash of the weights, or of the parameters of a method without weights (sha256)."""

    def segment(
        self,
        images: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Segmented:
        """Find one mask for each prompt; without prompts, for each image.

        Args:
            images: float (n, 3, h, w) in [0, 1]. n prompts are one for each image; with a single image there may be any
                number m of prompts.
            points: (m, k, 2), k points (x, y) that together are one prompt.
            point_labels: (m, k), 1 where the point lies on the object, 0 where it lies beside it; by default all 1.
            boxes: (m, 4), corners (x0, y0, x1, y1) with x0 < x1 and y0 < y1. Points and boxes that come together make m
                prompts of both.

        Raises:
            InputError: images of another shape, type or range; no prompt for a model that needs one, a prompt that it
                does not take, or one outside of the image.
        """


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts that were checked, on the CPU.

    Attributes:
        count: number m of requested masks.
        points: float64 (m, k, 2), or None.
        labels: int64 (m, k) of 0 and 1, or None without points.
        boxes: float64 (m, 4), or None.
    """

    count: int
    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None


def image_bytes(images: Tensor, *, name: str) -> Tensor:
    """Images as the bytes that segmenters were trained on: float (n, 3, h, w) in [0, 1] → uint8, on the CPU.

    >>> image_bytes(torch.full((1, 3, 1, 1), 0.5), name="demo").flatten().tolist()
    [128, 128, 128]

    Raises:
        InputError: another shape or type, or values outside of [0, 1].
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(f"{name} takes images: float (n, 3, h, w) in [0, 1]; got {_shown(images)}")
    if not images.numel():
        raise InputError(f"{name}: no images, or images without pixels: {_shown(images)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError(f"{name} takes images in [0, 1]; got values outside of it, or NaN. Divide bytes by 255")
    return images.detach().mul(255).round().to(torch.uint8).cpu()


def checked_prompts(
    images: Tensor,
    takes: AbstractSet[Prompt],
    *,
    points: Tensor | None,
    point_labels: Tensor | None,
    boxes: Tensor | None,
    name: str,
) -> Prompts:
    """Prompts that fit the images and the model.

    Args:
        images: (n, 3, h, w); one prompt for each, or any number for a single one.
        takes: what the model takes; empty for a model of salient objects.
        points: (m, k, 2) or None.
        point_labels: (m, k) of 0 and 1, or None for all 1.
        boxes: (m, 4) or None.
        name: of the segmenter, for messages.

    Raises:
        InputError: a prompt is missing, not taken, of another shape, or outside of the image.
    """
    height, width = images.shape[-2:]
    given: dict[Prompt, Tensor | None] = {"points": points, "boxes": boxes}
    kinds = [kind for kind, prompt in given.items() if prompt is not None]
    if point_labels is not None and points is None:
        raise InputError(f"{name}: point_labels came without points")
    for kind in kinds:
        if kind not in takes:
            expected = " or ".join(sorted(takes)) or "no prompts: it finds the salient object"
            raise InputError(f"{name} does not take {kind}; it takes {expected}")
    if takes and not kinds:
        raise InputError(f"{name} needs a prompt for each mask: {' or '.join(f'{kind}=' for kind in sorted(takes))}")
    if not kinds:
        return Prompts(len(images))
    placed = _numbers("points", points, (None, None, 2), name) if points is not None else None
    framed = _numbers("boxes", boxes, (None, 4), name) if boxes is not None else None
    counts = [len(prompt) for prompt in (placed, framed) if prompt is not None]
    if len(set(counts)) > 1:
        raise InputError(f"{name}: prompts of {counts[0]} points and {counts[1]} boxes came; expected as many of both")
    if not counts[0] or (placed is not None and not placed.shape[1]):
        raise InputError(f"{name}: an empty list of prompts came")
    if len(images) not in (1, counts[0]):
        raise InputError(f"{name}: {counts[0]} prompts for {len(images)} images; expected one each, or a single image")
    if placed is not None:
        _refuse_outside("point", placed.flatten(0, 1), width, height, name)
    if framed is not None:
        _check_boxes(framed, width, height, name)
    return Prompts(counts[0], placed, None if placed is None else _labels(point_labels, placed, name), framed)


def _numbers(kind: Prompt, prompt: Tensor, shape: tuple[int | None, ...], name: str) -> Tensor:
    """A prompt as float64 on the CPU."""
    fits = isinstance(prompt, Tensor) and not prompt.is_complex() and prompt.ndim == len(shape)
    if not fits or any(size not in (None, found) for size, found in zip(shape, prompt.shape, strict=True)):
        wanted = ", ".join("mk"[place] if size is None else str(size) for place, size in enumerate(shape))
        raise InputError(f"{name} takes {kind} as a tensor of numbers ({wanted}); got {_shown(prompt)}")
    return prompt.detach().cpu().double()


def _refuse_outside(kind: str, corners: Tensor, width: int, height: int, name: str, *, beyond: float = 0.0) -> None:
    """Refuse places (m, 2) farther than ``beyond`` behind the outer edges of the image, and NaN."""
    limits = torch.tensor([width, height], dtype=torch.float64) - 0.5 + beyond
    inside = ((corners >= -0.5 - beyond) & (corners <= limits)).all(1)
    if not bool(inside.all()):
        x, y = corners[~inside][0].tolist()
        raise InputError(
            f"{name}: {kind} ({x:g}, {y:g}) lies outside of an image {width} pixels wide and {height} high; prompts "
            f"are (x, y) in pixels, from (0, 0) to ({width - 1}, {height - 1})"
        )


def _check_boxes(boxes: Tensor, width: int, height: int, name: str) -> None:
    # Half a pixel more: many write (0, 0, w, h) for the whole image, and mean the corners of pixels.
    _refuse_outside("the corner of a box", boxes.view(-1, 2), width, height, name, beyond=0.5)
    turned = (boxes[:, :2] >= boxes[:, 2:]).any(1)
    if bool(turned.any()):
        raise InputError(f"{name}: box {boxes[turned][0].tolist()} is not (x0, y0, x1, y1) with x0 < x1 and y0 < y1")


def _labels(labels: Tensor | None, points: Tensor, name: str) -> Tensor:
    if labels is None:
        return torch.ones(points.shape[:2], dtype=torch.int64)
    if not isinstance(labels, Tensor) or labels.shape != points.shape[:2]:
        raise InputError(
            f"{name}: point_labels are one for each point, {tuple(points.shape[:2])}; got {_shown(labels)}"
        )
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise InputError(f"{name}: point_labels are 1 (on the object) or 0 (beside it); got {labels.unique().tolist()}")
    return labels.detach().cpu().long()


def _shown(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
