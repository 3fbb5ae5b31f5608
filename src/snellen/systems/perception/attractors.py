"""How far an autoencoder's training images attract what is near them.

Radhakrishnan, Belkin and Uhler, "Overparameterized neural networks implement associative memory", PNAS 2020: a fixed
point attracts if all eigenvalues of the map's Jacobian there are smaller than 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.perception.orbits import Map, orbit

#: Standard deviation of the noise from which an image must be found again, in [0, 1] pixel units.
NOISE = 0.05

#: How ``torch.cdist`` measures without rounding what is nearly alike away.
EXACT = "donot_use_mm_for_euclid_dist"

#: Numbers of an image up to which its Jacobian is made as a whole, and products with it above.
_WHOLE, _PRODUCTS = 1024, 64


@torch.no_grad()
def reconstruction_errors(step: Map, images: Tensor) -> Tensor:
    """‖x − PR(x)‖ of each image, the Euclidean norm over its pixels, not squared: (n, …) → (n,)."""
    return (images - step(images)).flatten(1).norm(dim=1)


def found_again(step: Map, images: Tensor, *, steps: int, tolerance: float, rng: Randomness) -> Tensor:
    """Whether each image is reached from itself under noise: bool (n,).

    Args:
        step: the map.
        images: (n, …).
        steps: of the orbit.
        tolerance: largest Euclidean distance of where it ends from the image.
        rng: bound to the images.
    """
    start = images + NOISE * rng.normal("attractor", images.shape[1:], like=images)
    return (orbit(step, start, steps).seen - images).flatten(1).norm(dim=1) <= tolerance


def spectral_radius(step: Map, image: Tensor) -> float:
    """Largest absolute eigenvalue of the map's Jacobian at an image (c, h, w); below 1 a fixed point attracts.

    Of an image of more than 1,024 numbers it is the largest that 64 products with the Jacobian show (Arnoldi).

    Raises:
        InputError: the Jacobian is not made of finite numbers.
    """

    def flat(point: Tensor) -> Tensor:
        return step(point.view(1, *image.shape)).flatten()

    point = image.detach().clone().flatten()
    if point.numel() <= _WHOLE:
        matrix = torch.autograd.functional.jacobian(flat, point, vectorize=True)
    else:
        # The transposed Jacobian has the same eigenvalues.
        with torch.enable_grad():
            seen = flat(point.requires_grad_())
        matrix = _krylov(
            lambda direction: torch.autograd.grad(seen, point, direction, retain_graph=True)[0], _start(point)
        )
    # What LAPACK does with other numbers may end the process.
    if not bool(matrix.isfinite().all()):
        raise InputError("the autoencoder runs away at a training image; train it at a lower learning_rate")
    return float(torch.linalg.eigvals(matrix).abs().max())


def _start(point: Tensor) -> Tensor:
    """A direction that is along no pattern of an image."""
    return torch.arange(1.0, point.numel() + 1, device=point.device, dtype=point.dtype).square().sin()


def _krylov(product: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """A small matrix (k, k), k ≤ 64, whose outermost eigenvalues are near those of a linear map (Arnoldi)."""
    basis, columns = [start / start.norm()], list[Tensor]()
    for _ in range(_PRODUCTS):
        held = torch.stack(basis)
        rest = product(basis[-1])
        column = torch.zeros(len(basis), dtype=rest.dtype, device=rest.device)
        for _again in range(2):  # once loses what is nearly along the basis to rounding
            along = held @ rest
            rest, column = rest - along @ held, column + along
        size = rest.norm()
        columns.append(torch.cat([column, size[None]]))
        if not size > 1e-6 * column.norm():
            break
        basis.append(rest / size)
    count = len(columns)
    return torch.stack([F.pad(column, (0, count + 1 - len(column))) for column in columns], 1)[:count]
