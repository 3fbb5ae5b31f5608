"""Picture of blends and their masks: pairs of validation images, and what each generator makes of them.

Takes a few minutes: three generators are trained as in the small experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.reproduction.adversarial_mixup.experiment import SIDE, SMALL_GENERATORS, SMALL_PLAN, SMALL_SIZES, WORLD
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.three_stage_network import FEATURE_LAYER, ThreeStageNetwork
from snellen.systems.adversarial_mixup.adversarial_mixing import AdversarialMixing, MixSettings, mixing_objective
from snellen.systems.adversarial_mixup.blend_recipe import deployed, mixing_module
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.mixing import Draw

PAIRS, ENLARGED = 10, 3


def trained_module(settings: MixSettings, store: ImageStore, classes: int) -> AdversarialMixing:
    """A generator and its teacher after the training of the small experiment."""
    with seeded(0, torch.device("cpu")):
        network = ThreeStageNetwork(classes)
    plan = SMALL_PLAN.model_copy(update={"seed": 0})
    module = mixing_module(
        network,
        store,
        class_count=classes,
        settings=settings,
        plan=plan,
        feature_layer=FEATURE_LAYER,
        rng=Randomness(0),
    )
    deployed(module, train(module, store, plan=plan, objective=mixing_objective))
    return module.eval()


def row_of(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures (n, c, h, w) in [0, 1] side by side, enlarged, with white lines between them."""
    shown = pictures.expand(-1, 3, -1, -1).repeat_interleave(ENLARGED, 2).repeat_interleave(ENLARGED, 3)
    pixels = (shown.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.concatenate([np.pad(one, ((2, 2), (2, 2), (0, 0)), constant_values=255) for one in pixels], 1)


def draw(root: Path, target: Path) -> None:
    """Train, blend pairs of validation images, and write the picture."""
    how = Preprocessing(size=(SIDE, SIDE))
    world = WORLD.model_copy(update={"count": SMALL_SIZES[0]})
    store = ImageStore.of_images(world.images(split="train"), how)
    pairs = ImageStore.of_images(world.model_copy(update={"count": 2 * PAIRS}).images(split="val"), how)
    images = to_unit(pairs.images)
    first, second = torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS)
    # Every image is in one blend of the batch, with its other half; the first half is drawn.
    parts = torch.stack([torch.cat([first, second]), torch.cat([second, first])])
    drawn = Draw(parts, torch.full((2 * PAIRS, 2), 0.5))
    rows = [row_of(images[first]), row_of(images[second])]
    generators: Mapping[str, MixSettings] = SMALL_GENERATORS
    for settings in (one for one in generators.values() if one.parts == 2):
        blend = trained_module(settings, store, len(world.shapes)).blend(images, drawn)
        rows += [row_of(blend.images[:PAIRS]), row_of(blend.masks[:PAIRS, :1])]
    Image.fromarray(np.concatenate(rows)).save(target, quality=88, method=6)


PICTURES: Pictures = {"adversarial-mixup-blends": draw}
