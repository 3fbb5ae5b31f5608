"""What digital processing does: pixelation and JPEG.

ImageNet-C (arXiv 1903.12261, appendix B), and with other strengths MedMNIST-C (arXiv 2406.17536).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.randomness import Randomness

#: Pixels from which on images are encoded side by side: with fewer, most of the time is Python's, which threads share.
WORTH_THREADS = 128 * 128


def pixelate(images: Tensor, rng: Randomness, *, factor: float) -> Tensor:
    """Shrink the sides to ``int(side · factor)`` and enlarge again, both with a box filter: (n, c, h, w) in [0, 1]."""
    height, width = images.shape[2:]
    small_height, small_width = max(int(height * factor), 1), max(int(width * factor), 1)
    small = box_resampling(height, small_height).to(images) @ images @ box_resampling(width, small_width).to(images).T
    # Enlarging by a box filter repeats pixels: each row of its matrix has one weight, a one.
    rows = box_resampling(small_height, height).argmax(1).to(images.device)
    columns = box_resampling(small_width, width).argmax(1).to(images.device)
    return small.index_select(3, columns).index_select(2, rows).clamp_(0, 1)


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
    pixels = torch.stack((images * 255).round_().byte().cpu().unbind(1), -1).numpy()
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
