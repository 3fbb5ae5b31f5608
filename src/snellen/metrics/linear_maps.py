"""Linear maps from one representation to another, fitted on examples and judged on others."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.metrics.alignment import paired_rows


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
