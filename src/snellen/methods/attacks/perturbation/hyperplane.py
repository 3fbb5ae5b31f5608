"""The smallest change that brings an image onto a hyperplane without leaving [0, 1].

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020, arXiv
1907.02044, section 2.2: the projection is a one-dimensional problem. Every pixel moves towards the plane by t · v until
it meets its bound of the box; v is 1 for the L-infinity norm and |w| for the Euclidean one. What is gained is piecewise
linear and concave in t, so Newton steps from t = 0 reach the exact t after as many rounds as sets of pixels meet their
bounds: a few, no sorting and no bisection.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def smallest_change(points: Tensor, normals: Tensor, gaps: Tensor, *, norm: Literal["linf", "l2"]) -> Tensor:
    """Changes d of least norm with normal · d = gap and point + d in [0, 1]: (n, ...) of the shape of the points.

    Where the box does not reach the plane, the change leads to the corner that comes nearest to it. Where the normal is
    zero, nothing changes.

    >>> point, normal = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    >>> smallest_change(point, normal, torch.tensor([0.5]), norm="linf")
    tensor([[0.4000, 0.1000]])

    Args:
        points: (n, ...) in [0, 1].
        normals: (n, ...), of the same shape.
        gaps: (n,), how much normal · point has to grow; negative to fall.
        norm: whose length of the change is least.
    """
    weights = normals.flatten(1) * torch.where(gaps < 0, -1.0, 1.0)[:, None].to(normals.dtype)
    flat = points.flatten(1)
    room = torch.where(weights > 0, 1 - flat, flat).clamp_(min=0)
    pull = weights.abs()
    speed = torch.ones_like(pull) if norm == "linf" else pull
    wanted = gaps.abs()
    free = (pull > 0) & (room > 0)
    worth, gain = pull * room, pull * speed
    everything = worth.sum(1)
    time = torch.zeros_like(wanted)
    while True:
        inside = free.to(pull.dtype)
        slope = (gain * inside).sum(1)
        fixed = everything - (worth * inside).sum(1)
        # The tangent of a concave function lies above it: the step never passes the solution, and no pixel comes back.
        reached = torch.where(slope > 0, (wanted - fixed) / slope.clamp(min=torch.finfo(slope.dtype).tiny), time)
        time = torch.maximum(time, reached)
        still = free & (time[:, None] * speed < room)
        if bool((still == free).all()):
            break
        free = still
    # A plane out of reach is one towards which every pixel goes as far as it can.
    unreachable = (wanted > everything)[:, None] & (pull > 0)
    moved = torch.where(unreachable, room, torch.minimum(time[:, None] * speed, room))
    return (moved * weights.sign()).view_as(points)
