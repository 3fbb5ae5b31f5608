"""What digital processing does: pixelation and JPEG.

ImageNet-C (arXiv 1903.12261, appendix B), and with other strengths MedMNIST-C (arXiv 2406.17536).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from snellen.core.randomness import Randomness

#: Pixels from which on images are encoded side by side: with fewer, most of the time is Python's, which threads share.
WORTH_THREADS = 128 * 128


def pixelate(images: Tensor, rng: Randomness, *, factor: float) -> Tensor:
    """Shrink the sides to ``int(side · factor)`` and enlarge again, both with a box filter: (n, c, h, w) in [0, 1]."""
    count, channels, height, width = images.shape
    small_height, small_width = max(int(height * factor), 1), max(int(width * factor), 1)
    # Rows and columns of flat tensors: along the last axis of a tensor of four, index_select is five times slower.
    low = _box_means(images.reshape(count * channels, height, width), small_height)
    small = _box_means(low.reshape(-1, width, 1), small_width)[..., 0]
    # Enlarging by a box filter repeats pixels: each row of its matrix has one weight, a one.
    columns, rows = (
        _box_taps(*sizes)[0][0].to(images.device) for sizes in ((small_width, width), (small_height, height))
    )
    wide = small.index_select(1, columns).view(count, channels, small_height, width)
    return wide.index_select(2, rows).clamp_(0, 1)


def low_resolution(images: Tensor, rng: Randomness, *, factor: float) -> Tensor:
    """Shrink the sides to ``side · factor``, rounded, and enlarge again, without blocks: (n, c, h, w) in [0, 1].

    A smaller copy of the picture that is shown at its old size: both ways by a bilinear filter, with anti-aliasing.
    """
    height, width = images.shape[2:]
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    small = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False).clamp_(0, 1)


def _box_means(lines: Tensor, target: int) -> Tensor:
    """:func:`box_resampling` along the middle axis: (n, source, m) → (n, target, m), by sums of its few weights."""
    total = None
    for places, weights in _box_taps(lines.shape[1], target):
        part, shares = lines.index_select(1, places.to(lines.device)), weights.to(lines)[:, None]
        total = part.mul_(shares) if total is None else total.addcmul_(part, shares)
    assert total is not None
    return total


@lru_cache(maxsize=64)
def _box_taps(source: int, target: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """The first, second, … weight of each row of the matrix, and its column: int64 and float64 (target), kept."""
    matrix = box_resampling(source, target)
    inside = matrix > 0
    first, counts = inside.int().argmax(1), inside.sum(1)
    taps = []
    for number in range(int(counts.max())):
        places = (first + number).clamp(max=source - 1)
        taps.append((places, torch.where(number < counts, matrix[torch.arange(target), places], 0.0)))
    return tuple(taps)


def box_resampling(source: int, target: int) -> Tensor:
    """Matrix of Pillow's BOX filter along one axis: float64 (target, source), rows sum to 1.

    Each target pixel averages, unweighted, the source pixels whose centres fall into its interval.
    """
    scale = source / target
    width = max(scale, 1.0)
    # Pillow's own order of operations: ties at an interval's end must fall the same way.
    centres = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(source, dtype=torch.float64)[None]
    positions = (pixels - centres + 0.5) * (1.0 / width)
    first, last = (centres - 0.5 * width + 0.5).trunc(), (centres + 0.5 * width + 0.5).trunc()
    inside = ((positions > -0.5) & (positions <= 0.5) & (pixels >= first) & (pixels < last)).double()
    return inside / inside.sum(1, keepdim=True)


def jpeg_compression(images: Tensor, rng: Randomness, *, quality: float) -> Tensor:
    """Encode as JPEG and decode: (n, 3, h, w) in [0, 1], rounded to bytes; quality in [1, 100], rounded.

    Pillow's encoder with its own chroma subsampling, as published; on as many threads as torch may use. It runs on the
    CPU, wherever the images are. Quality 100 still rounds, and halves the resolution of colour. One channel alone,
    (n, 1, h, w), is encoded as a grey image, which decodes to the bytes of a coloured one whose channels are equal.
    """
    if not len(images):
        return images.clone()
    level = min(max(round(quality), 1), 100)
    # NumPy turns floating point into bytes three times as fast as torch.
    values = torch.from_numpy((images * 255).round_().cpu().numpy().astype(np.uint8))
    pixels = torch.stack(values.unbind(1), -1).numpy()
    workers = min(torch.get_num_threads(), len(pixels)) if images[0, 0].numel() >= WORTH_THREADS else 1
    if workers == 1:
        decoded = [_through_jpeg(image, level) for image in pixels]
    else:
        with ThreadPoolExecutor(workers) as pool:
            decoded = list(pool.map(lambda image: _through_jpeg(image, level), pixels))
    changed = torch.from_numpy(np.stack(decoded)).to(images.device).permute(0, 3, 1, 2)
    return changed.to(images.dtype, memory_format=torch.contiguous_format).div_(255)


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode one image: uint8 (h, w, 3 or 1) → the same."""
    file = BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as image:
        return np.asarray(image).reshape(pixels.shape)
