"""The scene program: a planner that knows every object of a drawn scene, and a painter that understands its prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.methods.edits.masked_object import removed, widened
from snellen.systems.edited_regions.planning import EditType, Instruction, Region

#: Pixels around an object that belong to its region.
AROUND = 2

#: Radii of objects that are added, in half sides of the image, and tries to place one.
RADII, TRIES = (0.26, 0.46), 12

#: Mean difference to the prompt's picture at which a score is 1/e.
TOLERATED = 0.15

#: Most objects of a scene.
MOST = 8


class ScenePlanner:
    """Plans the edits of one scene; see :class:`~snellen.systems.edited_regions.planning.Planner`.

    Args:
        scene: what the base image shows.
        size: side of the image, pixels.
    """

    def __init__(self, scene: Scene, size: int) -> None:
        self.scene, self.size = scene, size

    def identity(self) -> str:
        """Hash of the scene and of the numbers of this file (sha256, hex)."""
        numbers = [AROUND, RADII, TRIES, TOLERATED, MOST, self.size]
        return hashlib.sha256(canonical_json([self.scene.model_dump(mode="json"), numbers])).hexdigest()

    def propose_regions(self, image: Tensor, rng: Randomness) -> Sequence[Region]:
        """The objects that are seen, each widened by two pixels, and one free place."""
        shown = _seen(self.scene, self.size)
        regions = [
            Region(f"the {one.colour} {one.shape}", widened(mask, AROUND), ("remove", "change"), key)
            for key, (one, mask) in enumerate(zip(self.scene.objects, shown, strict=True))
            if int(mask.sum()) >= 12
        ]
        place = None if len(self.scene.objects) == MOST else self._free(shown, rng)
        return regions if place is None else [*regions, place]

    def _free(self, shown: Tensor, rng: Randomness) -> Region | None:
        draws = rng.bind(1).uniform("place", (TRIES, 3))[0]
        taken = widened(shown.any(0), AROUND) if len(shown) else torch.zeros(self.size, self.size, dtype=torch.bool)
        for x, y, size in draws.tolist():
            radius = RADII[0] + (RADII[1] - RADII[0]) * size
            disc = SceneObject(
                shape="circle", colour="red", radius=radius, x=(2 * x - 1) * (1 - radius), y=(2 * y - 1) * (1 - radius)
            )
            (mask,) = _seen(Scene(objects=(disc,)), self.size)
            mask = widened(mask, AROUND)
            if not bool((mask & taken).any()):
                return Region("a free place", mask, ("add",), -1)
        return None

    def write_edit(self, image: Tensor, region: Region, edit: EditType, rng: Randomness) -> Instruction:
        """A prompt in the words of scenes: what shall be there afterwards.

        Raises:
            InputError: a type of edit that the region does not have.
        """
        if edit not in region.edits:
            raise InputError(f"{region.name} can be edited by {', '.join(region.edits)}; got {edit}")
        draws = rng.bind(1).uniform("edit", (3,))[0].tolist()
        if edit == "remove":
            return Instruction(edit, f"a {self.scene.background} background", region.mask, region)
        before = self.scene.objects[region.key] if edit == "change" else None
        colours = [one for one in COLOURS if before is None or one != before.colour]
        shape = SHAPES[int(draws[0] * len(SHAPES))] if before is None else before.shape
        colour, texture = colours[int(draws[1] * len(colours))], TEXTURES[int(draws[2] * len(TEXTURES))]
        words = f"a {texture} {colour} {shape}"
        return Instruction(edit, words, region.mask, region)

    def score_edit(self, before: Tensor, after: Tensor, instruction: Instruction, seed: int) -> float:
        """exp(−d / 0.15): d is the mean difference to what the prompt says with this seed, within the mask."""
        wanted = paint_scene(before[None], instruction.mask[None, None], [instruction.prompt], [seed])[0]
        difference = (after - wanted).abs().mean(0)[instruction.mask]
        return float(torch.exp(-difference.mean() / TOLERATED))

    def accept(self, instruction: Instruction) -> None:
        """Change the scene as the edit did: what was drawn last lies above all others."""
        objects, key = list(self.scene.objects), instruction.region.key
        if instruction.edit != "add":
            del objects[key]
        if instruction.edit != "remove":
            made = _described(instruction.prompt, instruction.mask)
            assert made is not None, "an instruction of this planner describes an object"
            objects.append(made)
        self.scene = self.scene.model_copy(update={"objects": tuple(objects)})


def _seen(scene: Scene, size: int) -> Tensor:
    """Where each object is seen, bool (k, size, size)."""
    if not scene.objects:
        return torch.zeros(0, size, size, dtype=torch.bool)
    return visible([scene], size)[0] > 0.5


@cache
def _words() -> frozenset[str]:
    return frozenset(f"a {name} background" for name in BACKGROUNDS)


def _described(prompt: str, mask: Tensor) -> SceneObject | None:
    """The object of a prompt, as large as a mask, bool (h, w), and in its middle; None for a background."""
    if prompt in _words():
        return None
    objects = parse(prompt).objects or ()
    if len(objects) != 1 or objects[0].shape is None or objects[0].colour is None:
        raise InputError(f"the prompt {prompt!r} describes no single object by colour and shape, such as 'a red star'")
    height, width = mask.shape
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    top, bottom, left, right = (int(one) for one in (rows[0], rows[-1], columns[0], columns[-1]))
    side = max(height, width)
    radius = (max(bottom - top, right - left) + 1 - 2 * AROUND) / side
    return SceneObject(
        shape=objects[0].shape,
        colour=objects[0].colour,
        texture=objects[0].texture or "plain",
        radius=max(radius, 2 / side),
        x=(left + right + 1) / side - 1,
        y=(top + bottom + 1) / side - 1,
    )


def paint_scene(images: Tensor, masks: Tensor, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
    """Draw what prompts say into regions; what was there is taken out first, and the rest stays bit for bit.

    Args:
        images: float (n, 3, h, w) in [0, 1].
        masks: bool (n, 1, h, w).
        prompts: "a striped red star", or "a grass background".
        seeds: of the textures.

    Raises:
        InputError: a prompt that is not understood.
    """
    height, width = images.shape[2:]
    grounds = removed(images, masks[:, 0])
    objects = [_described(prompt, mask[0]) for prompt, mask in zip(prompts, masks, strict=True)]
    drawn = [at for at, one in enumerate(objects) if one is not None]
    painted = grounds.clone()
    if drawn:
        scenes = [Scene(objects=(objects[at],), seed=seeds[at] % 2**31) for at in drawn]
        made = render(scenes, max(height, width))
        content = made.pixels.float().div(255)[:, :, :height, :width]
        cover = made.coverage[:, :1, :height, :width]
        painted[drawn] = cover * content + (1 - cover) * grounds[drawn]
    return torch.where(masks, painted, images)
