"""Where a camera stands: six numbers, as in the attack over viewpoints, and renderers whose pictures follow from it.

Source: Ruan et al., "Towards Viewpoint-Invariant Visual Recognition via Adversarial Training" (2023): a viewpoint is
roll, azimuth, elevation, distance and two shifts, each the image of an unbounded number under a · tanh(u) + b. The
published code shortens every camera to a distance of about 1.5; here the distance is the distance. It also turns by the
roll after the elevation, about the world's axis; here the roll turns about the line of sight at every elevation.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.view_renderer import ViewRenderer as ViewRenderer

#: Coordinates in order: degrees of roll, azimuth and elevation, distance and shifts in radii of the object.
COORDINATES = ("roll", "azimuth", "elevation", "distance", "shift_x", "shift_y")

#: Half ranges and centres: roll ±30°, azimuth ±180°, elevation ±70°, distance 3 to 5, shifts ±0.5.
HALF_RANGES = (30.0, 180.0, 70.0, 1.0, 0.5, 0.5)
CENTRES = (0.0, 0.0, 0.0, 4.0, 0.0, 0.0)

#: Horizontal and vertical angle of view, radians (the angle of the synthetic scenes of NeRF).
ANGLE_OF_VIEW = 0.6911


def viewpoints_of(unbounded: Tensor) -> Tensor:
    """Viewpoints (..., 6) of unbounded numbers (..., 6): a · tanh(u) + b.

    >>> viewpoints_of(torch.zeros(6)).tolist()
    [0.0, 0.0, 0.0, 4.0, 0.0, 0.0]
    """
    half, centre = unbounded.new_tensor(HALF_RANGES), unbounded.new_tensor(CENTRES)
    return torch.tanh(unbounded) * half + centre


def camera_to_world(viewpoints: Tensor) -> Tensor:
    """Matrices (n, 4, 4) that take camera coordinates (x right, y up, −z ahead) to the world (z up).

    The camera is moved by the shifts and the distance, turned by the roll about its own axis, raised by the elevation
    and turned by the azimuth: R_z(azimuth) · R_x(90° − elevation) · R_z(roll) · T(shift_x, shift_y, distance). Azimuth
    0 looks along the world's +y, and grows counterclockwise seen from above.

    >>> camera_to_world(torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]]))[0, :3, 3].round(decimals=3).tolist()
    [0.0, -4.0, 0.0]

    Raises:
        InputError: another shape.
    """
    if viewpoints.ndim != 2 or viewpoints.shape[1] != len(COORDINATES):
        raise InputError(f"viewpoints must be (n, 6): {', '.join(COORDINATES)}; got {tuple(viewpoints.shape)}")
    angles = viewpoints[:, :3].double() * (math.pi / 180)
    roll, azimuth, elevation = angles.unbind(1)
    moved = torch.eye(4, dtype=torch.float64, device=viewpoints.device).repeat(len(viewpoints), 1, 1)
    moved[:, 0, 3], moved[:, 1, 3], moved[:, 2, 3] = viewpoints[:, 4], viewpoints[:, 5], viewpoints[:, 3]
    raised = _turned(math.pi / 2 - elevation, 1, 2)
    return (_turned(azimuth, 0, 1) @ raised @ _turned(roll, 0, 1) @ moved).to(viewpoints.dtype)


def _turned(angle: Tensor, first: int, second: int) -> Tensor:
    """Rotations (n, 4, 4) that turn one axis towards another."""
    matrix = torch.eye(4, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, second, first], matrix[:, first, second] = angle.sin(), -angle.sin()
    return matrix


class RecordedRenderer(ViewRenderer, Protocol):
    """A renderer whose views can be distinguished without rendering them."""

    @property
    def size(self) -> int:
        """Height and width of its images, pixels."""
        ...

    @property
    def recipe(self) -> str:
        """Text that says everything, besides object and viewpoint, that a picture follows from; versions included."""
        ...

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from (hex)."""
        ...
