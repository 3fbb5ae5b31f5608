import math

import pytest
import torch

from snellen.data.worlds.solids.part import ENTRIES, KINDS, NORMALS, box_entry, capsule_entry, cylinder_entry

RATIO = {"cone": 0.3, "tube": 0.6, "capsule": 0.4}


def outside(kind, point, ratio):
    """Above 0 outside the solid, below 0 inside, by its definition."""
    x, y, z = point.unbind(-1)
    round_part = (x * x + y * y).sqrt()
    if kind == "box":
        return point.abs().amax(-1) - 1
    if kind == "ellipsoid":
        return point.norm(dim=-1) - 1
    if kind == "capsule":
        straight = 1 / ratio - 1
        return torch.stack([x, y, z - z.clamp(-straight, straight)], -1).norm(dim=-1) - 1
    ends = z.abs() - 1
    if kind == "cone":
        return torch.maximum(round_part - (1 + (ratio - 1) * (z + 1) / 2), ends)
    cylinder = torch.maximum(round_part - 1, ends)
    return torch.maximum(cylinder, ratio - round_part) if kind == "tube" else cylinder


def rays(count, seed=0, away=3.5):
    generator = torch.Generator().manual_seed(seed)
    origin = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    origin = origin / origin.norm(dim=1, keepdim=True) * away
    target = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    return origin, (target - origin) * (0.2 + torch.rand(count, 1, generator=generator, dtype=torch.float64))


def enter(kind, origin, direction):
    return ENTRIES[kind](origin.unbind(-1), direction.unbind(-1), RATIO.get(kind, 0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_entries_are_where_a_march_along_the_ray_first_comes_inside(kind):
    origin, direction = rays(400)
    length = direction.norm(dim=1)
    step = 0.002
    distance = torch.arange(0.5, 8.0, step, dtype=torch.float64)
    points = origin[:, None] + (direction / length[:, None])[:, None] * distance[None, :, None]
    inside = outside(kind, points, RATIO.get(kind, 0.0)) < 0
    first = distance[inside.int().argmax(1)]
    entry = enter(kind, origin, direction) * length
    met = inside.any(1)
    assert 100 < met.sum() < 400
    # A march may step over what it only grazes, but never meets what is not there.
    assert torch.isfinite(entry[met]).all()
    assert (torch.isfinite(entry) & ~met).sum() <= 4
    close = (entry[met] - first[met]).abs() <= step
    assert (~close).sum() <= 2
    assert (entry[met] <= first[met] + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_the_gradient_at_the_surface(kind):
    origin, direction = rays(600, seed=1)
    entry = enter(kind, origin, direction)
    met = torch.isfinite(entry)
    point = (origin[met] + entry[met, None] * direction[met]).requires_grad_()
    value = outside(kind, point, RATIO.get(kind, 0.0))
    assert value.abs().max() < 1e-9
    (gradient,) = torch.autograd.grad(value.sum(), point)
    normal = torch.stack(NORMALS[kind](point.detach().unbind(-1), RATIO.get(kind, 0.0)), -1)
    assert torch.allclose(normal / normal.norm(dim=1, keepdim=True), gradient / gradient.norm(dim=1, keepdim=True))
    assert ((normal * direction[met]).sum(1) < 0).all()  # rays come from outside


@pytest.mark.parametrize("kind", KINDS)
def test_rays_that_lead_away_meet_nothing(kind):
    origin, direction = rays(200, seed=2)
    assert torch.isinf(enter(kind, origin, -direction)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rays_along_an_axis_meet_the_solid_or_not(kind):
    along = torch.tensor([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    near, far = torch.full((3, 3), 0.05), torch.full((3, 3), 1.5)
    place = torch.eye(3).flip(0) * 5
    off_axis = 1 - torch.eye(3).flip(0)
    entry = enter(kind, place + near * off_axis, along)
    if kind == "tube":
        assert torch.isinf(entry[0])  # through the hole
        entry = entry[1:]
    assert torch.isfinite(entry).all()
    assert torch.isinf(enter(kind, place + far * off_axis, along)).all()


def test_the_step_of_a_ray_is_scaled_with_its_direction():
    origin, direction = rays(100, seed=3)
    for kind in KINDS:
        assert torch.allclose(enter(kind, origin, direction * 4) * 4, enter(kind, origin, direction))


def test_known_distances():
    start = (torch.tensor(-3.0), torch.tensor(0.0), torch.tensor(0.5))
    along = (torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0))
    assert box_entry(start, along).item() == 2
    assert cylinder_entry(start, along).item() == 2
    assert capsule_entry(start, along, 0.5).item() == 2
    # Half way down a full cone the radius is a half; at z = 0.5 it is a quarter.
    assert ENTRIES["cone"](start, along, 0.0).item() == pytest.approx(2.75)
    assert ENTRIES["ellipsoid"](start, along, 0.0).item() == pytest.approx(3 - math.sqrt(0.75))
