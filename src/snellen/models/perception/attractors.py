"""How far an autoencoder's training images attract what is near them.

Radhakrishnan, Belkin and Uhler, "Overparameterized neural networks implement associative memory", PNAS 2020: a fixed
point attracts if all eigenvalues of the map's Jacobian there are smaller than 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.models.perception.orbits import Map, orbit
from snellen.randomness import Randomness

#: Standard deviation of the noise from which an image must be found again, in [0, 1] pixel units.
NOISE = 0.05

#: How ``torch.cdist`` measures without rounding what is nearly alike away.
EXACT = "donot_use_mm_for_euclid_dist"


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

    The Jacobian has as many rows and columns as the image has numbers: it is meant for small images.
    """

    def flat(point: Tensor) -> Tensor:
        return step(point.view(1, *image.shape)).flatten()

    jacobian = torch.autograd.functional.jacobian(flat, image.flatten(), vectorize=True)
    return float(torch.linalg.eigvals(jacobian).abs().max())
