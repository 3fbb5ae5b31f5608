import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError, UnknownNameError
from snellen.data.worlds.solids import rendering
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES, draw_solid
from snellen.data.worlds.solids.part import Part, Solid
from snellen.data.worlds.solids.rendering import SolidRenderer
from snellen.data.worlds.solids.shading import Light, ground_light, shadow_of
from snellen.data.worlds.solids.solid_set import draw_viewpoints
from snellen.data.worlds.solids.tracing import cameras_of, focal_length
from snellen.data.worlds.view_set import boxes_of_coverage

SOLIDS = {name: draw_solid(name, 3) for name in SOLID_CLASSES}
ANY = draw_viewpoints(range(12), "any").float()
WHITE_BALL = Solid("ball", (Part(kind="ellipsoid", half_sizes=(0.5, 0.5, 0.5), colour=(1.0, 1.0, 1.0)),))
FRONT = torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]])


def renderer(size=48, **values):
    return SolidRenderer(solids=SOLIDS | {"ball": WHITE_BALL}, size=size, **values)


def seen_from(**values):
    names = ("roll", "azimuth", "elevation", "distance", "shift_x", "shift_y")
    place = dict(zip(names, FRONT[0].tolist(), strict=True)) | values
    return torch.tensor([[place[name] for name in names]])


@pytest.mark.parametrize("name", ["mug", "tree", "rocket", "chair"])
def test_a_view_is_the_same_alone_and_among_others(name):
    drawn = renderer(shadow=True)
    images, coverage = drawn.render(name, ANY)
    for place in (0, 5, 11):
        alone = drawn.render(name, ANY[place : place + 1])
        assert torch.equal(alone[0][0], images[place])
        assert torch.equal(alone[1][0], coverage[place])
    assert torch.equal(drawn.render(name, ANY.flip(0))[0].flip(0), images)


def test_how_many_rays_are_traced_together_does_not_matter(monkeypatch):
    images, coverage = renderer(shadow=True).render("house", ANY)
    monkeypatch.setattr(rendering, "_RAYS", 5 * 4 * 48**2)
    again = renderer(shadow=True).render("house", ANY)
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], coverage)


@pytest.mark.parametrize("distance", [3.0, 4.0, 5.0])
def test_the_distance_is_the_distance(distance):
    # A ball of radius r at distance d is a disc of radius f · r / sqrt(d² − r²).
    coverage = renderer(128).render("ball", seen_from(distance=distance))[1]
    radius = focal_length(128) * 0.5 / math.sqrt(distance**2 - 0.25)
    assert coverage.sum().item() == pytest.approx(math.pi * radius**2, rel=2e-3)


@pytest.mark.parametrize("elevation", [-60.0, 0.0, 25.0, 65.0])
def test_roll_turns_the_picture_about_its_middle(elevation):
    drawn = renderer(96)
    upright = drawn.render("car", seen_from(azimuth=35.0, elevation=elevation))[0]
    rolled = drawn.render("car", seen_from(azimuth=35.0, elevation=elevation, roll=30.0))[0]
    cosine, sine = math.cos(math.pi / 6), math.sin(math.pi / 6)

    def turned(sign):
        matrix = torch.tensor([[[cosine, sign * sine, 0], [-sign * sine, cosine, 0]]])
        grid = F.affine_grid(matrix, [1, 3, 96, 96], align_corners=False)
        return F.grid_sample(upright, grid, align_corners=False, padding_mode="border")

    right, wrong = ((turned(sign) - rolled).abs().mean().item() for sign in (1, -1))
    assert right < 0.01
    assert wrong > 4 * right


def test_azimuth_comes_round_and_turns_the_object():
    drawn = renderer()
    back = drawn.render("mug", torch.cat([seen_from(azimuth=-180.0), seen_from(azimuth=180.0)]))[0]
    assert (back[0] - back[1]).abs().mean() < 1e-4
    # Seen from +x (azimuth 90), the handle is in front; seen from −y it is to the right.
    boxes = drawn.boxes("mug", torch.cat([FRONT, seen_from(azimuth=90.0)]))
    assert boxes[0, 2] - boxes[0, 0] > 1.15 * (boxes[1, 2] - boxes[1, 0])


def test_shifts_move_the_picture_the_other_way():
    drawn = renderer(128)
    boxes = drawn.boxes("ball", torch.cat([FRONT, seen_from(shift_x=0.5), seen_from(shift_y=0.5)]))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    step = focal_length(128) * 0.5 / 4
    assert torch.allclose(middle[0], torch.full((2,), 64.0), atol=1e-3)
    assert torch.allclose(middle[1] - middle[0], torch.tensor([-step, 0.0]), rtol=0.02, atol=1e-3)
    assert torch.allclose(middle[2] - middle[0], torch.tensor([0.0, step]), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("name", SOLID_CLASSES)
def test_coverage_is_that_of_a_much_finer_picture(name):
    coverage = renderer().render(name, ANY[:8])[1]
    fine = F.avg_pool2d(renderer(192).render(name, ANY[:8])[1], 4)  # 64 rays and more for each pixel
    assert torch.minimum(coverage, fine).sum() / torch.maximum(coverage, fine).sum() >= 0.98
    inside, truth = coverage > 0.5, fine > 0.5
    assert (inside & truth).sum() / (inside | truth).sum() >= 0.99
    assert (coverage - fine).abs().mean() < 0.003


@pytest.mark.parametrize("name", SOLID_CLASSES)
def test_boxes_are_those_of_the_masks(name):
    drawn = renderer(160)
    viewpoints = ANY.clone()
    viewpoints[:, 3], viewpoints[:, 4:] = 5.0, 0.0  # nothing is cut off
    boxes = drawn.boxes(name, viewpoints)
    covered = drawn.render(name, viewpoints)[1]
    least = torch.from_numpy(boxes_of_coverage(covered))
    assert ((boxes - least).abs() <= 1.3).all()
    touched = torch.from_numpy(boxes_of_coverage((covered > 0).float()))
    assert (boxes[:, :2] <= touched[:, :2] + 1).all()
    assert (boxes[:, 2:] >= touched[:, 2:] - 1).all()


def test_a_box_ends_where_the_picture_ends():
    box = renderer().boxes("table", seen_from(distance=3.0, shift_x=0.5))[0]
    assert box[0] == 0
    assert box[2] < 48


def test_light_follows_the_law():
    light = Light(direction=(-1.0, -2.0, 2.0))
    image, coverage = renderer(255, light=light).render("ball", seen_from(elevation=20.0, azimuth=40.0))
    depth = renderer(255).depth("ball", seen_from(elevation=20.0, azimuth=40.0))[0].double().numpy()
    cameras = cameras_of(seen_from(elevation=20.0, azimuth=40.0))
    place = (np.arange(255) + 0.5 - 127.5) / focal_length(255)
    ray = np.stack([*np.meshgrid(place, -place), np.full((255, 255), -1.0)], -1) @ cameras.axes[0].numpy().T
    inside = coverage[0].numpy() == 1
    normal = (cameras.places[0].numpy() + ray[inside] * depth[inside, None]) / 0.5
    towards = np.array([-1.0, -2.0, 2.0]) / 3
    expected = light.sun * np.clip(normal @ towards, 0, None) + light.sky * (1 + light.hemisphere * normal[:, 2])
    assert np.abs(image[0, 0].numpy()[inside] - np.minimum(expected, 1)).max() < 0.02
    assert depth.min() == pytest.approx(3.5, abs=1e-3)


def test_the_light_stands_still_when_the_camera_moves():
    drawn = renderer(65)
    images, _ = drawn.render("ball", torch.cat([seen_from(azimuth=-39.0), seen_from(azimuth=141.0)]))
    assert images[0, 0, 32, 32] > images[1, 0, 32, 32] + 0.2


def test_layers_make_the_picture_over_any_colour():
    drawn = renderer(background=(0.2, 0.5, 0.9), shadow=True)
    front, coverage, light = drawn.layers("lamp", ANY)
    images, again = drawn.render("lamp", ANY)
    assert torch.equal(again, coverage)
    assert torch.equal(images, front + light[:, None] * torch.tensor([0.2, 0.5, 0.9])[:, None, None])
    assert (light <= 1 - coverage).all()
    assert images.min() >= 0
    assert images.max() <= 1
    empty = (coverage == 0) & (light == 1)
    assert torch.allclose(images.permute(0, 2, 3, 1)[empty], torch.tensor([0.2, 0.5, 0.9]))


def test_shadows_lie_on_the_side_away_from_the_sun_and_are_seen_from_above_only():
    light = Light(direction=(-1.0, 0.0, 1.0))
    shadow = shadow_of(WHITE_BALL, light.towards)
    assert shadow.height == pytest.approx(-0.5, abs=0.01)
    darkness = 1 - shadow.light
    edge = torch.cat([darkness[0], darkness[-1], darkness[:, 0], darkness[:, -1]])
    assert edge.max() == 0
    x = shadow.left + shadow.step[0] * torch.arange(len(darkness))
    y = shadow.front + shadow.step[1] * torch.arange(len(darkness))
    # The shadow of a ball on a plane lies about where the ray through its centre meets the plane.
    assert ((darkness.sum(0) * x).sum() / darkness.sum()).item() == pytest.approx(0.5, abs=0.03)
    assert ((darkness.sum(1) * y).sum() / darkness.sum()).item() == pytest.approx(0.0, abs=0.03)
    # Its area is that of the disc, π r², over the sine of the sun's height.
    area = (darkness.sum() / darkness.max()).item() * shadow.step[0] * shadow.step[1]
    assert area == pytest.approx(math.pi * 0.25 / math.sin(math.pi / 4), rel=0.05)
    above, below = cameras_of(seen_from(elevation=40.0)), cameras_of(seen_from(elevation=-40.0))
    assert ground_light(shadow, above, 48).min() < 0.7
    assert (ground_light(shadow, below, 48) == 1).all()
    # A low sun throws the shadow behind a camera just below the ground that looks a little down.
    long = shadow_of(WHITE_BALL, Light(direction=(-1.0, 0.0, 0.2)).towards)
    behind = cameras_of(seen_from(azimuth=90.0, distance=1.6, elevation=-18.6))
    assert (ground_light(long, behind, 48) == 1).all()


def test_gradients_are_neither_needed_nor_given():
    viewpoints = ANY[:2].clone().requires_grad_()
    images, coverage = renderer().render("mug", viewpoints)
    assert not images.requires_grad
    assert not coverage.requires_grad


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size_and_no_views(size):
    images, coverage = renderer(size, shadow=True).render("car", ANY[:0])
    assert images.shape == (0, 3, size, size)
    assert coverage.shape == (0, size, size)
    images, coverage = renderer(size, shadow=True).render("car", ANY[:2])
    assert images.shape == (2, 3, size, size)
    assert images.isfinite().all()
    assert images.dtype == coverage.dtype == torch.float32
    assert renderer(size).depth("car", ANY[:0]).shape == (0, size, size)


def test_an_object_out_of_sight_is_a_white_picture():
    images, coverage = renderer().render("ball", seen_from(shift_x=40.0))
    assert (images == 1).all()
    assert (coverage == 0).all()
    box = renderer().boxes("ball", seen_from(shift_x=40.0))[0]
    assert box[0] == box[2]


def test_objects_are_found_by_their_id():
    drawn = renderer()
    assert drawn.objects == (*SOLID_CLASSES, "ball")
    assert drawn.class_of("mug") == "mug"
    assert drawn.content_hash("mug") == SOLIDS["mug"].content_hash
    assert drawn.recipe != renderer(shadow=True).recipe
    with pytest.raises(UnknownNameError, match="mug"):
        drawn.render("mugg", FRONT)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"size": 4}, "8 to 1024"),
        ({"background": (0.0, 0.5)}, "three numbers"),
        ({"background": (0.0, 0.5, 1.5)}, "three numbers"),
    ],
)
def test_renderers_that_cannot_be(values, told):
    with pytest.raises(InputError, match=told):
        SolidRenderer(solids=SOLIDS, **values)


@pytest.mark.parametrize("values", [{"direction": (0, 0, -1)}, {"direction": (1, 0, 0)}, {"direction": (0, 0, 0)}])
def test_a_sun_below_the_horizon_is_refused(values):
    with pytest.raises(InputError, match="above the horizon"):
        Light(**values)


def test_light_below_nothing_is_refused():
    with pytest.raises(InputError, match="at least 0"):
        Light(sun=-0.1)


@pytest.mark.parametrize(
    ("viewpoints", "told"),
    [
        (torch.zeros(2, 5), r"\(n, 6\)"),
        (torch.tensor([[0.0, math.inf, 0, 4, 0, 0]]), "not finite"),
        (torch.tensor([[0.0, 0, 0, 0.5, 0, 0]]), "1.05 or more; got 0.5"),
    ],
)
def test_viewpoints_that_cannot_be(viewpoints, told):
    with pytest.raises(InputError, match=told):
        renderer().render("mug", viewpoints)
