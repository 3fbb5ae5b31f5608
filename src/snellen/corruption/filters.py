"""Linear filters of planes: separable ones as matrix products, any other kernel through the Fourier transform.

Folding kernel and border into a (size × size) matrix needs no padded copy, works for kernels wider than the image, and
leaves to a matrix product what convolution routines do slowly for single channels. Such a matrix is a band: it is
multiplied in blocks of rows, each with its own columns only, and a few planes at a time, which stay in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.corruption.borders import Border, pad, reflect_101, replicate

#: Pixels that are worked on at a time: about a megabyte.
PIXELS_AT_ONCE = 300_000

#: Rows and columns of a matrix outside which it is zero, and what lies inside.
Block = tuple[slice, slice, Tensor]


def gaussian_kernel(deviation: float, truncate: float = 4.0) -> Tensor:
    """Sampled Gaussian that ends at ``truncate`` deviations and sums to 1: float64 (2 · radius + 1), as in SciPy.

    >>> gaussian_kernel(0.5, truncate=2.0)
    tensor([0.1065, 0.7870, 0.1065], dtype=torch.float64)
    """
    radius = int(truncate * deviation + 0.5)
    if radius == 0:
        return torch.ones(1, dtype=torch.float64)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    return kernel / kernel.sum()


def filter_matrix(size: int, kernel: Tensor, border: Border = replicate) -> Tensor:
    """Matrix of the correlation with an odd kernel along an axis of this size: float64 (size, size).

    >>> filter_matrix(3, torch.tensor([0.25, 0.5, 0.25]))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.2500, 0.5000, 0.2500],
            [0.0000, 0.2500, 0.7500]], dtype=torch.float64)
    """
    radius = len(kernel) // 2
    sources = border(size, radius, radius).unfold(0, len(kernel), 1)  # (size, taps)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, kernel.double().expand_as(sources))


def separable_filter(planes: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Vertical · plane · horizontalᵀ: (n, c, h, w), (h', h), (w', w) → a new tensor (n, c, h', w'), unclamped.

    Not a bit of an image depends on the others: each has its own products, and lies in memory as it would alone.
    """
    count, channels, height, width = planes.shape
    tall, wide = len(vertical), len(horizontal)
    filtered = planes.new_empty(count, channels, tall, wide)
    above, beside = blocks(vertical, like=planes), blocks(horizontal, like=planes)
    for part, target in in_parts(planes, filtered):
        source = apart(part, (channels, height, width)).copy_(part)
        between = apart(part, (channels, height, wide))
        result = apart(part, (channels, tall, wide))
        lines, lines_between = (held.view(len(part), channels * height, -1) for held in (source, between))
        for rows, columns, block in beside:
            weights = block.T.expand(len(part), *block.T.shape)
            lines_between[:, :, rows].baddbmm_(lines[:, :, columns], weights, beta=0)
        for rows, columns, block in above:
            weights = block.expand(len(part), *block.shape)
            for channel in range(channels):
                result[:, channel, rows].baddbmm_(weights, between[:, channel, columns], beta=0)
        target.copy_(result)
    return filtered


def apart(part: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """An empty tensor (n, *shape) for as many images, each row at an address that is a multiple of 64 bytes.

    Matrix products take another way, and round otherwise, where their data begins elsewhere.
    """
    channels, height, width = shape
    return part.new_empty(len(part), channels, height, -(-width // 16) * 16)[..., :width]


def blocks(matrix: Tensor, *, like: Tensor, rows: int = 48) -> list[Block]:
    """Cut a matrix into blocks of this many rows and drop the columns that are zero; type and device of ``like``.

    >>> [(rows, columns) for rows, columns, _ in blocks(torch.eye(4), like=torch.zeros(1), rows=3)]
    [(slice(0, 3, None), slice(0, 3, None)), (slice(3, 4, None), slice(3, 4, None))]
    """
    cut = []
    for start in range(0, len(matrix), rows):
        inside = slice(start, min(start + rows, len(matrix)))
        used = matrix[inside].any(0).nonzero().flatten()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        cut.append((inside, columns, matrix[inside, columns].to(like)))
    return cut


def in_parts(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    """Cut tensors (n, …, h, w) alike along the first axis, so that a part of the first has a handy number of pixels."""
    pixels = tensors[0][:1].numel()
    at_once = max(PIXELS_AT_ONCE // max(pixels, 1), 1)
    starts = range(0, len(tensors[0]), at_once)
    return zip(*([tensor[start : start + at_once] for start in starts] for tensor in tensors), strict=True)


def gaussian_filter(planes: Tensor, deviation: float, *, truncate: float = 4.0, border: Border = replicate) -> Tensor:
    """Gaussian filter of each plane: (n, c, h, w), deviation in pixels → a new tensor (n, c, h, w), unclamped.

    Kernel and default border are those of ``skimage.filters.gaussian``; deviation 0 gives a copy.
    """
    kernel = gaussian_kernel(deviation, truncate)
    if len(kernel) == 1:
        return planes.clone(memory_format=torch.contiguous_format)
    height, width = planes.shape[-2:]
    return separable_filter(planes, filter_matrix(height, kernel, border), filter_matrix(width, kernel, border))


def fourier_filter(planes: Tensor, kernel: Tensor, *, border: Border = reflect_101) -> Tensor:
    """Correlate each plane with one odd kernel: (n, c, h, w), (kh, kw) → a new tensor (n, c, h, w), unclamped.

    OpenCV's ``filter2D``, border included; the time does not depend on the kernel.
    """
    height, width = planes.shape[-2:]
    above, left = len(kernel) // 2, kernel.shape[1] // 2
    tall, wide = fast_length(height + 2 * above), fast_length(width + 2 * left)
    spectrum = torch.fft.rfft2(kernel.double(), s=(tall, wide)).conj()
    spectrum = spectrum.to(torch.promote_types(planes.dtype, torch.complex64)).to(planes.device)
    filtered = torch.empty_like(planes, memory_format=torch.contiguous_format)
    for part, target in in_parts(planes, filtered):
        # What is padded beyond the kernel's reach only makes the length a fast one.
        padded = pad(part, (above, tall - height - above), (left, wide - width - left), border)
        product = torch.fft.rfft2(padded).mul_(spectrum)
        target.copy_(torch.fft.irfft2(product, s=(tall, wide))[..., :height, :width])
    return filtered


def fast_length(least: int) -> int:
    """Smallest even number from ``least`` on without prime factors above 5, a length with a fast Fourier transform.

    >>> fast_length(233), fast_length(1)
    (240, 2)
    """
    length = least + least % 2
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2
