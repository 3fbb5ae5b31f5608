import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES, draw_solid
from snellen.data.worlds.solids.part import ENTRIES, KINDS, Part, Solid, placed
from snellen.data.worlds.solids.tracing import inward, ratio_of


def surface_points(part, count=4000):
    """Points where rays from all around meet the part."""
    rng = np.random.default_rng(0)
    origin = rng.normal(size=(count, 3))
    origin = 9 * origin / np.linalg.norm(origin, axis=1, keepdims=True)
    inside = np.asarray(part.centre) + (rng.uniform(-1, 1, (count, 3)) * part.half_sizes) @ part.axes.T
    way = inside - origin
    matrix = inward(part).numpy()
    local = torch.from_numpy(((origin - part.centre) @ matrix.T).T), torch.from_numpy((way @ matrix.T).T)
    entry = ENTRIES[part.kind](tuple(local[0]), tuple(local[1]), ratio_of(part)).numpy()
    met = np.isfinite(entry)
    return origin[met] + entry[met, None] * way[met]


@pytest.mark.parametrize("kind", KINDS)
def test_outer_points_hold_the_part_and_hardly_more(kind):
    sizes = (0.3, 0.3, 0.8) if kind == "capsule" else (0.3, 0.5, 0.8)
    part = Part(kind=kind, half_sizes=sizes, centre=(0.2, -0.4, 0.1), turn=(20, 40, 70), ratio=0.4)
    points, outer = surface_points(part), part.outer_points()
    for direction in np.random.default_rng(1).normal(size=(200, 3)):
        direction = direction / np.linalg.norm(direction)
        farthest = (outer @ direction).max()
        assert (points @ direction).max() <= farthest + 1e-9
        assert (points @ direction).max() >= farthest - 0.08


@pytest.mark.parametrize("name", SOLID_CLASSES)
def test_objects_fit_the_unit_sphere_and_fill_it(name):
    for seed in range(5):
        solid = draw_solid(name, seed)
        radii = np.linalg.norm(np.concatenate([surface_points(part, 1500) for part in solid.parts]), axis=1)
        assert radii.max() <= 1
        assert radii.max() > 0.9


def test_an_object_is_moved_and_scaled_as_a_whole():
    ball = Part(kind="ellipsoid", half_sizes=(1, 1, 1), centre=(7, 0, 0))
    solid = placed("two balls", [ball, Part(kind="ellipsoid", half_sizes=(1, 1, 1), centre=(7, 0, 4))])
    first, second = solid.parts
    assert second.centre[2] - first.centre[2] == pytest.approx(4 * first.half_sizes[0], abs=1e-5)
    assert first.half_sizes[0] == pytest.approx(1 / 3, rel=0.01)
    assert first.centre[2] == pytest.approx(-second.centre[2], abs=1e-5)


def test_content_tells_objects_apart():
    assert draw_solid("mug", 1).content_hash == draw_solid("mug", 1).content_hash
    assert draw_solid("mug", 1).content_hash != draw_solid("mug", 2).content_hash
    solid = draw_solid("mug", 1)
    assert Solid("cup", solid.parts).content_hash != solid.content_hash


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "blob", "half_sizes": (1, 1, 1)}, "must be one of box"),
        ({"kind": "box", "half_sizes": (1, 0, 1)}, "above 0"),
        ({"kind": "box", "half_sizes": (1, float("nan"), 1)}, "above 0"),
        ({"kind": "tube", "half_sizes": (1, 1, 1), "ratio": 1.0}, "below 1"),
        ({"kind": "capsule", "half_sizes": (1, 0.9, 2)}, "round"),
        ({"kind": "capsule", "half_sizes": (1, 1, 0.5)}, "as long as thick"),
    ],
)
def test_parts_that_cannot_be(values, told):
    with pytest.raises(InputError, match=told):
        Part(**values)


def test_an_object_needs_parts():
    with pytest.raises(InputError, match="at least one part"):
        placed("ghost", [])
