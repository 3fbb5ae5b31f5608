"""Label maps of images that were edited in turns: L ← 0, then L[M_t] ← model of turn t, so that the last writer wins.

Ci et al., "DiffSeg30k: a multi-turn diffusion editing benchmark for localized AIGC detection", arXiv 2511.19111. A
label map is uint8: 0 untouched, 1 to n the editor that wrote a pixel last, 255 not judged. It is stored lossless, and
resized by the nearest pixel alone. Latent models change pixels outside of the mask, too; a composite puts those back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError, RejectedImageError
from snellen.runs.whole_file import whole_file

#: Label of pixels that no figure counts.
IGNORED = 255

#: Editors that a label map can name.
MOST_EDITORS = IGNORED - 1


def label_map(masks: Sequence[NDArray[np.bool_]], editors: Sequence[int], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Which editor wrote each pixel last.

    >>> first, second = np.array([[True, True, False]]), np.array([[False, True, True]])
    >>> label_map([first, second], [3, 1], (1, 3)).tolist()
    [[3, 1, 1]]

    Args:
        masks: of the turns in their order, bool (h, w) each.
        editors: label of each turn's editor, 1 to 254.
        shape: h and w.

    Raises:
        InputError: another number of editors than masks, a mask of another size or type, or a label out of range.
    """
    last = last_turns(masks, shape)
    if len(editors) != len(masks) or not all(1 <= one <= MOST_EDITORS for one in editors):
        raise InputError(f"{len(masks)} masks need as many editors, 1 to {MOST_EDITORS}; got {list(editors)}")
    table = np.array([0, *editors], dtype=np.uint8)
    found: NDArray[np.uint8] = table[last]
    return found


def last_turns(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The turn that wrote each pixel last: uint8 (h, w), from 1; 0 where none did.

    Raises:
        InputError: a mask of another size or type.
    """
    found = np.zeros(shape, dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        if mask.dtype != np.bool_ or mask.shape != shape:
            raise InputError(f"the mask of turn {number} is {mask.dtype} {mask.shape}; expected bool {shape}")
        found[mask] = number
    return found


def soft_mask(mask: Tensor, border: int) -> Tensor:
    """A mask whose edge rises over some pixels, all of them *inside* it: float32 (h, w) in [0, 1].

    What lies outside stays 0, so that pixels with label 0 are those of the image before, bit for bit.

    >>> import torch
    >>> soft_mask(torch.tensor([[False, True, True, True, True, True, False]]).expand(7, 7), 1)[3].tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0]

    Args:
        mask: bool (h, w).
        border: pixels of the edge; 0: none.

    Raises:
        InputError: a negative border.
    """
    if border < 0:
        raise InputError(f"a border is 0 pixels or more, published 2 to 4; got {border}")
    alpha, inside = mask.float(), mask.float()[None, None]
    for _ in range(border):
        inside = 1 - functional.max_pool2d(1 - inside, 3, 1, 1)  # one pixel less from every side, but not at the frame
        alpha = alpha + inside[0, 0]
    return alpha / (border + 1)


def composite(before: Tensor, edited: Tensor, mask: Tensor, border: int) -> Tensor:
    """X ← M x_edit + (1 − M) x_before with a soft M: (3, h, w) in [0, 1]."""
    alpha = soft_mask(mask, border).to(before)
    return alpha * edited + (1 - alpha) * before


@dataclass(frozen=True)
class Changed:
    """How much an edit changed where it should, and elsewhere.

    Attributes:
        inside: share of the mask's pixels that changed by more than the tolerance.
        outside: share of the other pixels that did; 0 where everything else was put back.
    """

    inside: float
    outside: float


def changed_pixels(before: Tensor, after: Tensor, mask: Tensor, *, tolerance: float = 2 / 255) -> Changed:
    """Whether the requested region is the region that changed; a mask that was only requested is a noisy label.

    Args:
        before: (3, h, w) in [0, 1].
        after: of the same shape.
        mask: bool (h, w).
        tolerance: largest difference of a channel that is no change.
    """
    moved = (after - before).abs().amax(0) > tolerance
    inside, outside = (float(moved[part].float().mean()) if bool(part.any()) else 0.0 for part in (mask, ~mask))
    return Changed(inside, outside)


def check_labels(labels: NDArray[np.generic], editors: int, *, what: str = "a label map") -> NDArray[np.uint8]:
    """Labels as uint8 (h, w).

    Raises:
        InputError: another shape or type, or a value that is neither 0 to ``editors`` nor 255.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise InputError(f"{what} holds integers (h, w); got {labels.dtype} {labels.shape}")
    unknown = sorted({int(value) for value in np.unique(labels)} - {*range(editors + 1), IGNORED})
    if unknown:
        raise InputError(
            f"{what} holds {unknown[:5]}; expected 0 (untouched), 1 to {editors} (editors) or {IGNORED} (not judged). "
            f"Masks of 0 and 255 are no label maps, and label maps are never resized smoothly"
        )
    found: NDArray[np.uint8] = labels.astype(np.uint8)
    return found


def write_labels(path: Path, labels: NDArray[np.uint8], editors: int) -> None:
    """Write a label map as a grey PNG, which loses nothing (see :func:`check_labels` for errors)."""
    with whole_file(path) as stream:
        Image.fromarray(check_labels(labels, editors)).save(stream, "PNG")


def read_labels(content: bytes, size: tuple[int, int], editors: int, *, what: str) -> NDArray[np.uint8]:
    """Read a label map.

    Args:
        content: of a PNG file.
        size: width and height of its image.
        editors: their number n.
        what: how messages call it.

    Raises:
        RejectedImageError: no grey PNG, another size than the image, or unknown labels.
    """
    try:
        with Image.open(BytesIO(content), formats=("PNG",)) as image:
            if image.mode != "L":
                raise RejectedImageError(f"{what} is a PNG of mode {image.mode}; expected grey bytes, mode L")
            if image.size != size:
                raise RejectedImageError(f"{what} is {image.size} pixels, its image {size}: expected the same")
            return check_labels(np.asarray(image), editors, what=what)
    except InputError as error:
        raise RejectedImageError(str(error)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise RejectedImageError(f"{what} is no PNG that can be read: {error}") from error


def resized_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The labels at another width and height, by the nearest pixel: no value that was not there."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
