"""Train the embedded painter of backgrounds: a diffusion in pixels, without a condition, on scenes and on empty ones.

    python scripts/embedded/train_scene_painter.py [--resume] [--threads N] [--first-steps]

A UNet2DModel of diffusers. Half of its images are backgrounds alone, so that it leaves empty what is empty. The others
show one object of any size, at any place and turned by up to half a right angle and more, so that it knows what lies
around an object that stays.
"""

from __future__ import annotations

from typing import Any

import torch
from pixel_diffusion import train_and_write
from scene_examples import SceneExamples
from scene_world import BACKGROUNDS, SIZE, WORLD, scenes

from runs import options
from snellen.core.images import Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene
from snellen.training import TrainingPlan

NAME = "scene-painter"
COUNT = 56_000

#: Neither the scenes of the other embedded models, whose world has seed 0, nor those of any experiment.
PAINTED = WORLD.model_copy(update={"nuisance_share": 0.0, "seed": 270})

#: Share of the scenes without an object.
EMPTY = 0.5

#: Radii in half sides and turns in radians; centres are so far from the middle that the circle stays inside, or nearly.
RADII, TURN, ASIDE = (0.2, 1.0), 0.9, 0.15

ARCHITECTURE: dict[str, Any] = {
    "sample_size": SIZE,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64, 96],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 24,
    "norm_num_groups": 8,
}

DESCRIPTION = (
    "Diffusion of scenes in pixels, 32 pixels, without a condition: half of what it was shown are backgrounds alone "
    f"({', '.join(BACKGROUNDS)}), the others one object of any size, place and turn. It paints around objects that "
    "stay, and leaves empty what is empty."
)

# Without channels_last, which costs a fifth of the speed in these small networks on a processor.
PLAN = TrainingPlan(
    epochs=2,
    batch_size=64,
    drop_last=True,
    learning_rate=1.5e-3,
    second_momentum=0.99,
    schedule="cosine",
    warmup_steps=200,
    ema_decay=0.998,
    clip_norm=1.0,
    mixed_precision="bf16",
)


def painted(split: Split, count: int, *, seen: bool = True) -> list[Scene]:
    """Scenes of a split: some empty, the others with an object of another size, place and turn than they were drawn.

    Args:
        split: whose scenes.
        count: of scenes.
        seen: the combinations of shape, colour, texture and background that are trained on, or those that are not.
    """
    drawn = scenes(PAINTED, split, count=count, seen=seen)
    draws = Randomness(PAINTED.seed).for_examples([str(scene.seed) for scene in drawn])
    return [_varied(scene, *row) for scene, row in zip(drawn, draws.uniform("painted", (5,)).tolist(), strict=True)]


def _varied(scene: Scene, empty: float, size: float, across: float, down: float, turn: float) -> Scene:
    """One scene by five numbers in [0, 1)."""
    if empty < EMPTY:
        return scene.model_copy(update={"objects": ()})
    radius = RADII[0] + (RADII[1] - RADII[0]) * size
    reach = max(1 - radius, ASIDE)
    moved = {
        "radius": radius,
        "x": reach * (2 * across - 1),
        "y": reach * (2 * down - 1),
        "rotation": TURN * (2 * turn - 1),
    }
    return scene.model_copy(update={"objects": (scene.objects[0].model_copy(update=moved),)})


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    recipe = {
        "script": "scripts/embedded/train_scene_painter.py",
        "scenes": {"empty": EMPTY, "radii": RADII, "turn": TURN, "aside": ASIDE, "seed": PAINTED.seed},
    }
    train_and_write(
        given,
        NAME,
        SceneExamples(painted("train", COUNT), SIZE, torch.zeros(COUNT, dtype=torch.int64)),
        architecture=ARCHITECTURE,
        plan=PLAN,
        recipe=recipe,
        description=DESCRIPTION,
    )


if __name__ == "__main__":
    main()
