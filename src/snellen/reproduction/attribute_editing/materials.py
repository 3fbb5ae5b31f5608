"""Scenes with one object, mostly in the middle, of medium size and upright, before a background that reveals its class.

Everything is known of them: masks, backgrounds without the object, and the scene that an edit should have made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.images import Split
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.factors import Background, Shape
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Light, Scene, SceneObject
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, COLOURS, SIZE, TEXTURES
from snellen.systems.attribute_editing.object_layer import ObjectLayer
from snellen.systems.attribute_editing.published import EditSetting

#: The classes, and the background that goes with each.
CLASSES: tuple[Shape, ...] = ("triangle", "star", "cross", "heart")
OWN: dict[Shape, Background] = dict(zip(CLASSES, BACKGROUNDS, strict=True))

#: Share of the images before the background of their class; the others are before any of the other three.
CORRELATION = 0.8

#: Radii and how far centres lie from the middle, in half sides; turns in radians.
RADII, ASIDE, TURN = (0.52, 0.64), 0.12, 0.06

#: Side of the square in which a change counts as something drawn, in pixels, and the least mean change of a colour
#: there. Another grain of the same background does not reach it, and more than 90 % of the objects of these scenes do.
PATCH, CHANGE = 5, 0.2


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures of scenes and the truth about them.

    Attributes:
        scenes: n records.
        images: float (n, 3, h, h) in [0, 1].
        masks: bool (n, h, h), pixels that the object covers by half at least.
        backgrounds: float (n, 3, h, h), the same scenes without their objects.
        labels: int64 (n,).
    """

    scenes: tuple[Scene, ...]
    images: Tensor
    masks: Tensor
    backgrounds: Tensor
    labels: Tensor

    @property
    def ids(self) -> list[str]:
        """Of the images."""
        return [str(scene.seed) for scene in self.scenes]


def shown(split: Split, count: int, seed: int, *, correlation: float = CORRELATION) -> Shown:
    """Draw scenes of one split and show them.

    Args:
        split: whose scenes.
        count: of images, classes in turn.
        seed: of the experiment.
        correlation: share of images before their class's background; 1/4 carries no information.
    """
    scenes = tuple(_scene(split, row, seed, correlation) for row in range(count))
    drawn = render(scenes, SIZE)
    return Shown(
        scenes,
        drawn.pixels.float() / 255,
        drawn.coverage[:, 0] >= 0.5,
        render([scene.model_copy(update={"objects": ()}) for scene in scenes], SIZE).pixels.float() / 255,
        torch.tensor([CLASSES.index(scene.objects[0].shape) for scene in scenes]),
    )


def _scene(split: Split, row: int, seed: int, correlation: float) -> Scene:
    own = derive_seed(seed, "attribute editing", split, row)
    rng = np.random.default_rng(own)
    shape = CLASSES[row % len(CLASSES)]
    others = [name for name in BACKGROUNDS if name != OWN[shape]]
    background = OWN[shape] if rng.random() < correlation else others[int(rng.integers(len(others)))]
    light = Light(
        level=rng.uniform(0.88, 1.0),
        warmth=rng.uniform(-0.6, 0.6),
        direction=rng.uniform(-math.pi / 2, math.pi / 2),
        unevenness=rng.uniform(0, 0.3),
    )
    thing = SceneObject(
        shape=shape,
        colour=COLOURS[int(rng.integers(len(COLOURS)))],
        texture=TEXTURES[int(rng.integers(len(TEXTURES)))],
        radius=rng.uniform(*RADII),
        x=rng.uniform(-ASIDE, ASIDE),
        y=rng.uniform(-ASIDE, ASIDE),
        rotation=rng.uniform(-TURN, TURN),
    )
    return Scene(objects=(thing,), background=background, light=light, seed=own)


def oracle(
    scene: Scene,
    before: ObjectLayer,
    setting: EditSetting,
    *,
    place: Sequence[float] = (0.0, 0.0),
    degrees: float = 0.0,
) -> Scene:
    """The scene that an edit should have made: its object scaled, turned and moved as was drawn for it.

    Nothing is taken from what the edit made, so that its mask can be compared with the one drawn here.

    Args:
        scene: the record of the unedited picture.
        before: its object.
        setting: of size, position or direction.
        place: which of the places of its box from top to bottom and from left to right, each uniform in [0, 1).
        degrees: by how much it is turned, clockwise.
    """
    thing, side = scene.objects[0], before.mask.shape[0]
    scale, angle, moved = 1.0, 0.0, (0.0, 0.0)
    if setting.attribute == "size":
        scale, moved = _grown(before, setting.share)
    elif setting.attribute == "position":
        moved = _drawn_move(before, place)
    else:
        angle = math.radians(degrees)
    # All turns and scalings are about the object's mean place, which is not the centre of its circle.
    from_centre = [
        (thing.y + 1) * side / 2 - 0.5 - before.centre[0],
        (thing.x + 1) * side / 2 - 0.5 - before.centre[1],
    ]
    down = scale * (math.sin(angle) * from_centre[1] + math.cos(angle) * from_centre[0]) + before.centre[0] + moved[0]
    right = scale * (math.cos(angle) * from_centre[1] - math.sin(angle) * from_centre[0]) + before.centre[1] + moved[1]
    changed = thing.model_copy(
        update={
            "radius": thing.radius * scale,
            "x": (right + 0.5) * 2 / side - 1,
            "y": (down + 0.5) * 2 / side - 1,
            "rotation": thing.rotation + angle,
        }
    )
    return scene.model_copy(update={"objects": (changed,)})


def _grown(before: ObjectLayer, share: float) -> tuple[float, tuple[float, float]]:
    """Factor that gives an object its share, at most the one at which its box fills the image; and how far it moves in.

    It keeps its centre unless a side of its box would leave the image: then it moves by what sticks out.
    """
    height, width = before.mask.shape
    top, left, bottom, right = before.box
    scale = min(math.sqrt(share / before.share), height / (bottom - top), width / (right - left))
    moves = []
    for first, last, centre, length in (
        (top, bottom, before.centre[0], height),
        (left, right, before.centre[1], width),
    ):
        # Edges of pixels lie half a pixel beside their centres.
        begins, ends = centre + scale * (first - 0.5 - centre) + 0.5, centre + scale * (last - 0.5 - centre) + 0.5
        moves.append(max(0.0, -begins) - max(0.0, ends - length))
    return scale, (moves[0], moves[1])


def _drawn_move(before: ObjectLayer, place: Sequence[float]) -> tuple[float, float]:
    """Pixels down and right to the drawn place: its box may begin wherever it still ends inside."""
    height, width = before.mask.shape
    top, left, bottom, right = before.box
    rows, columns = height - (bottom - top) + 1, width - (right - left) + 1
    return math.floor(place[0] * rows) - float(top), math.floor(place[1] * columns) - float(left)


def before_another(scene: Scene, lender: Scene) -> Scene:
    """The object of one scene before the background of another, in that one's light."""
    return lender.model_copy(update={"objects": scene.objects})


def drawn_anew(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, h, h) in [0, 1] of scenes, and their objects' masks, bool (n, h, h)."""
    found = render(list(scenes), SIZE)
    return found.pixels.float() / 255, found.coverage[:, 0] >= 0.5


def drawn_into(painted: Tensor, backgrounds: Tensor) -> Tensor:
    """Where something as large as a small object was drawn into a background, bool (n,).

    Args:
        painted: float (n, 3, h, w) in [0, 1].
        backgrounds: the same before.
    """
    change = functional.avg_pool2d(painted - backgrounds, PATCH, 1).abs()
    return change.amax((1, 2, 3)) > CHANGE
