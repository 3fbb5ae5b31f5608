"""Linear filters of planes: separable ones as matrix products, any other kernel through the Fourier transform.

Folding kernel and border into a (size × size) matrix needs no padded copy, works for kernels wider than the image, and
leaves to a matrix product what convolution routines do slowly for single channels. Such a matrix is a band: it is
multiplied in blocks of rows, each with its own columns only, and a few planes at a time, which stay in the cache. For
small images a call costs more than the zeros of a band, so that the whole batch is multiplied at once.

Libraries pad by reflection only as far as the image is wide; here an index wraps as often as it has to, so that wide
kernels also act on tiny images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

#: (size, before, after) → int64 (before + size + after), the pixel that stands at each place of the padded axis.
Border = Callable[[int, int, int], Tensor]


def replicate(size: int, before: int, after: int) -> Tensor:
    """Edge pixel repeated, a a a | a b c d | d d d: SciPy's and scikit-image's ``nearest``, OpenCV's ``REPLICATE``.

    >>> replicate(3, 2, 1).tolist()
    [0, 0, 0, 1, 2, 2]
    """
    return torch.arange(-before, size + after).clamp_(0, size - 1)


def reflect(size: int, before: int, after: int) -> Tensor:
    """Mirror at the edge, edge pixel repeated, d c b a | a b c d | d c b a: SciPy's ``reflect``, OpenCV's ``REFLECT``.

    >>> reflect(3, 2, 4).tolist()
    [1, 0, 0, 1, 2, 2, 1, 0, 0]
    """
    places = torch.arange(-before, size + after) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def reflect_101(size: int, before: int, after: int) -> Tensor:
    """Mirror at the edge pixel, d c b | a b c d | c b a: OpenCV's default, torch's ``reflect``, SciPy's ``mirror``.

    >>> reflect_101(3, 2, 3).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (size - 1), 1)
    places = torch.arange(-before, size + after) % period
    return torch.minimum(places, period - places).clamp_(max=size - 1)


def pad(planes: Tensor, rows: tuple[int, int], columns: tuple[int, int], border: Border) -> Tensor:
    """Pad (…, h, w) by (before, after) rows and columns: a new tensor (…, h + Σ rows, w + Σ columns)."""
    height, width = planes.shape[-2:]
    below = border(height, *rows).to(planes.device)
    beside = border(width, *columns).to(planes.device)
    return planes.index_select(-2, below).index_select(-1, beside)


#: Pixels that are worked on at a time: about a megabyte.
PIXELS_AT_ONCE = 300_000

#: Longest side of the images whose batch is multiplied in one call.
SMALL_SIDE = 64

#: Kernels of so few weights are summed shift by shift at that size, which takes less than Fourier transforms.
FEW_WEIGHTS = 32

#: Values in 64 bytes of float32: where rows begin at multiples of them, products are the same for each image.
ALIGNED = 16

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
    if max(height, width, tall, wide) <= SMALL_SIDE:
        return _whole_products(planes, vertical.to(planes), horizontal.to(planes))
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


def _whole_products(planes: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """:func:`separable_filter` of a batch of small images in two calls, rows filled up with zeros to 64 bytes."""
    count, channels, height, width = planes.shape
    from_width, to_width = (-(-side // ALIGNED) * ALIGNED for side in (width, len(horizontal)))
    lines = F.pad(planes, (0, from_width - width)).reshape(count, channels * height, from_width)
    beside = F.pad(horizontal.T, (0, to_width - len(horizontal), 0, from_width - width))
    between = torch.bmm(lines, beside.expand(count, -1, -1)).view(count, channels, height, to_width)
    rows_first = between.transpose(1, 2).reshape(count, height, channels * to_width)
    filtered = torch.bmm(vertical.expand(count, -1, -1), rows_first).view(count, len(vertical), channels, to_width)
    return filtered[..., : len(horizontal)].transpose(1, 2).contiguous()


def apart(part: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """An empty tensor (n, *shape) for as many images, each row at an address that is a multiple of 64 bytes.

    Matrix products take another way, and round otherwise, where their data begins elsewhere.
    """
    channels, height, width = shape
    return part.new_empty(len(part), channels, height, -(-width // ALIGNED) * ALIGNED)[..., :width]


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


def in_parts(*tensors: Tensor, alone: bool = False) -> zip[tuple[Tensor, ...]]:
    """Cut tensors (n, …, h, w) alike along the first axis, so that a part of the first has a handy number of pixels.

    ``alone``: each part is one of n.
    """
    pixels = tensors[0][:1].numel()
    at_once = 1 if alone else max(PIXELS_AT_ONCE // max(pixels, 1), 1)
    starts = range(0, len(tensors[0]), at_once)
    return zip(*([tensor[start : start + at_once] for start in starts] for tensor in tensors), strict=True)


def gaussian_filter(planes: Tensor, deviation: float, *, truncate: float = 4.0, border: Border = replicate) -> Tensor:
    """Gaussian filter of each plane: (n, c, h, w), deviation in pixels → a new tensor (n, c, h, w), unclamped.

    Kernel and default border are those of ``skimage.filters.gaussian``; deviation 0 gives a copy.
    """
    if int(truncate * deviation + 0.5) == 0:
        return planes.clone(memory_format=torch.contiguous_format)
    vertical, horizontal = (_gaussian_matrix(side, deviation, truncate, border) for side in planes.shape[-2:])
    return separable_filter(planes, vertical, horizontal)


@lru_cache(maxsize=64)
def _gaussian_matrix(size: int, deviation: float, truncate: float, border: Border) -> Tensor:
    """Matrix of :func:`gaussian_filter` along an axis: kept, and never changed in place."""
    return filter_matrix(size, gaussian_kernel(deviation, truncate), border)


def fourier_filter(planes: Tensor, kernel: Tensor, *, border: Border = reflect_101) -> Tensor:
    """Correlate each plane with one odd kernel: (n, c, h, w), (kh, kw) → a new tensor (n, c, h, w), unclamped.

    OpenCV's ``filter2D``, border included; the time does not depend on the kernel.
    """
    kernel = without_empty_rim(kernel)
    height, width = planes.shape[-2:]
    above, left = len(kernel) // 2, kernel.shape[1] // 2
    if max(height, width) <= SMALL_SIDE and int(kernel.count_nonzero()) <= FEW_WEIGHTS:
        return _summed_shifts(planes, kernel, border)
    tall, wide = fast_length(height + 2 * above), fast_length(width + 2 * left)
    spectrum = torch.fft.rfft2(kernel.double(), s=(tall, wide)).conj()
    spectrum = spectrum.to(torch.promote_types(planes.dtype, torch.complex64)).to(planes.device)
    filtered = []
    # One image at a time on a processor: its transform of several may round otherwise than that of one.
    for (part,) in in_parts(planes, alone=planes.device.type == "cpu"):
        # What is padded beyond the kernel's reach only makes the length a fast one.
        padded = pad(part, (above, tall - height - above), (left, wide - width - left), border)
        product = torch.fft.rfft2(padded).mul_(spectrum)
        filtered.append(torch.fft.irfft2(product, s=(tall, wide))[..., :height, :width].to(planes.dtype))
    return torch.cat(filtered) if filtered else planes.clone()


def without_empty_rim(kernel: Tensor) -> Tensor:
    """Cut off the zeros around an odd kernel, as many on both sides of an axis: (kh, kw) → odd (≤ kh, ≤ kw).

    >>> without_empty_rim(torch.tensor([[0.0, 0, 0], [0, 1, 2], [0, 0, 0]]))
    tensor([[0., 1., 2.]])
    """
    places = kernel.nonzero()
    if not len(places):
        return kernel
    centre = torch.tensor(kernel.shape) // 2
    down, right = (places.cpu() - centre).abs().amax(0).tolist()
    above, left = (centre - torch.tensor([down, right])).tolist()
    return kernel[above : len(kernel) - above, left : kernel.shape[1] - left]


def _summed_shifts(planes: Tensor, kernel: Tensor, border: Border) -> Tensor:
    """:func:`fourier_filter`, one weight after another."""
    height, width = planes.shape[-2:]
    above, left = len(kernel) // 2, kernel.shape[1] // 2
    padded = pad(planes, (above, above), (left, left), border)
    filtered = torch.zeros_like(planes, memory_format=torch.contiguous_format)
    for row, column in kernel.nonzero().tolist():
        filtered.add_(padded[..., row : row + height, column : column + width], alpha=float(kernel[row, column]))
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
