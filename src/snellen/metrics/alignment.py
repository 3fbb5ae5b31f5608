"""How alike two representations of the same examples are, and linear maps from one to the other.

Two kinds of measure must not be mixed up. :func:`linear_cka` and :func:`neighbour_overlap` do not change when one side
is rotated: they say that two representations hold the same, in any basis. :func:`identity_residual` and
:func:`channel_correlation` compare channel with channel: only they say whether a direction means the same on both
sides, which is what a vector needs that is carried over as it is. Fitted maps say what could be undone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment, ‖Z₂ᵀZ₁‖² / (‖Z₁ᵀZ₁‖ ‖Z₂ᵀZ₂‖) of centred rows, in [0, 1].

    Kornblith, Norouzi, Lee and Hinton, "Similarity of neural network representations revisited", ICML 2019, arXiv
    1905.00414, section 3. Rotation and scaling of one side do not change it.

    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> round(linear_cka(rows, rows.flip(1)), 6)
    1.0

    Args:
        first: (n, d) with n > 1.
        second: (n, k), of the same examples.

    Raises:
        InputError: rows that do not pair, are not finite, or are all the same.
    """
    a, b = paired_rows(first, second)
    shared = (b.T @ a).square().sum()
    return float(shared / ((a.T @ a).norm() * (b.T @ b).norm()))


def identity_residual(first: Tensor, second: Tensor) -> float:
    """‖Z₁ − Z₂‖ / ‖Z₂‖ of centred rows: how far two representations are from being the same, channel by channel.

    0 where they agree but for a constant; √2 is what two unrelated ones of the same size have.

    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> identity_residual(rows, rows + 3)
    0.0

    Args:
        first: (n, d) with n > 1.
        second: (n, d), of the same examples.

    Raises:
        InputError: as for :func:`linear_cka`; or other widths.
    """
    a, b = paired_rows(first, second, same_width=True)
    return float((a - b).norm() / b.norm())


def channel_correlation(first: Tensor, second: Tensor) -> float:
    """Mean of the correlations of each channel with its namesake, in [−1, 1]; a constant channel counts as 0.

    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> abs(round(channel_correlation(rows, torch.stack([rows[:, 0], -rows[:, 1]], 1)), 6))
    0.0

    Args:
        first: (n, d) with n > 1.
        second: (n, d), of the same examples.

    Raises:
        InputError: as for :func:`identity_residual`.
    """
    a, b = paired_rows(first, second, same_width=True)
    sizes = a.norm(dim=0) * b.norm(dim=0)
    return float(torch.where(sizes > 0, (a * b).sum(0) / sizes.clamp(min=1e-300), 0.0).mean())


def neighbour_overlap(first: Tensor, second: Tensor, neighbours: int = 10) -> float:
    """Mean share of the k nearest neighbours (Euclidean) of an example that it has on both sides, in [0, 1].

    >>> rows = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> neighbour_overlap(rows, -rows, neighbours=1)
    1.0

    Args:
        first: (n, d).
        second: (n, k), of the same examples.
        neighbours: from 1 to n − 1.

    Raises:
        InputError: as for :func:`linear_cka`; or a number of neighbours that cannot be.
    """
    a, b = paired_rows(first, second)
    if not 1 <= neighbours < len(a):
        raise InputError(f"{len(a)} examples have 1 to {len(a) - 1} neighbours, got neighbours={neighbours}")
    near = []
    for rows in (a, b):
        distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
        chosen = distances.topk(neighbours, largest=False).indices
        near.append(torch.zeros_like(distances, dtype=torch.bool).scatter_(1, chosen, True))
    return float((near[0] & near[1]).sum()) / (neighbours * len(a))


def paired_rows(first: Tensor, second: Tensor, *, same_width: bool = False) -> tuple[Tensor, Tensor]:
    """Two representations of the same examples, centred, in float64.

    Raises:
        InputError: other numbers of rows, fewer than two, numbers that are not finite, or no spread at all; with
            ``same_width`` also other widths.
    """
    fits = first.ndim == second.ndim == 2 and len(first) == len(second) > 1
    if not fits or (same_width and first.shape[1] != second.shape[1]):
        width = "the same width d" if same_width else "any widths"
        raise InputError(
            f"two representations of the same n > 1 examples, (n, d) each, of {width}; got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    centred = [rows.double() - rows.double().mean(0) for rows in (first, second)]
    for rows in centred:
        if not bool(rows.isfinite().all()) or not bool(rows.any()):
            raise InputError("representations must be finite and not the same for all examples")
    return centred[0], centred[1]


def orthogonal_map(first: Tensor, second: Tensor) -> Tensor:
    """The orthogonal matrix Q that brings centred rows of ``first`` nearest to those of ``second``: (d, d).

    Q = U Vᵀ from the singular value decomposition of Z₁ᵀZ₂ (Schönemann 1966, orthogonal Procrustes). Vectors of the
    first space are carried over as rows: v · Q.

    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> orthogonal_map(rows, rows.flip(1)).round(decimals=6).abs().tolist()
    [[0.0, 1.0], [1.0, 0.0]]

    Args:
        first: (n, d); fewer rows than columns leave the map partly arbitrary.
        second: (n, d), of the same examples.

    Raises:
        InputError: rows that do not pair.
    """
    a, b = paired_rows(first, second, same_width=True)
    u, _, v = torch.linalg.svd(a.T @ b)
    return (u @ v).to(first.dtype)


def ridge_map(first: Tensor, second: Tensor, *, strength: float = 1e-3) -> Tensor:
    """The matrix W with the least ‖Z₁W − Z₂‖² + λ‖W‖² of centred rows: (d, k).

    Args:
        first: (n, d).
        second: (n, k), of the same examples.
        strength: λ in units of the mean variance sum of a column of Z₁, above 0.

    Raises:
        InputError: rows that do not pair, or a strength that is not positive.
    """
    if not strength > 0:
        raise InputError(f"the strength of a ridge regression is above 0, got {strength}")
    a, b = paired_rows(first, second)
    gram = a.T @ a
    penalty = strength * float(gram.diagonal().mean())
    solved = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), a.T @ b)
    return solved.to(first.dtype)


def map_residual(first: Tensor, second: Tensor, matrix: Tensor) -> float:
    """‖Z₁W − Z₂‖ / ‖Z₂‖ of centred rows: what a map leaves unexplained. On rows that it was not fitted on, please.

    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> round(map_residual(rows, rows.flip(1), orthogonal_map(rows, rows.flip(1))), 6)
    0.0

    Args:
        first: (n, d).
        second: (n, k), of the same examples.
        matrix: (d, k).

    Raises:
        InputError: rows or a matrix that do not fit.
    """
    a, b = paired_rows(first, second)
    if matrix.shape != (a.shape[1], b.shape[1]):
        raise InputError(f"a map from {a.shape[1]} to {b.shape[1]} columns; got a matrix {tuple(matrix.shape)}")
    return float((a @ matrix.double() - b).norm() / b.norm())


def random_orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A matrix from the uniform (Haar) distribution over the orthogonal ones: float64 (size, size).

    The Q of a Gaussian matrix, with the signs that make R's diagonal positive (Mezzadri, Notices of the AMS 54, 2007).
    """
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()
