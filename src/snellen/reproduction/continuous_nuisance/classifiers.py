"""Four classifiers of shapes: three families trained on clear scenes, and one of them on two of the shifts as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import SHAPES, SIZE, WORLD
from snellen.reproduction.continuous_nuisance.scales import KNOWN, SHIFTS, Budget
from snellen.reproduction.shared.small_networks import FAMILIES, small_network
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Scenes without the values that two of the shifts bring: no stripes, no bricks.
CLEAR = WORLD.model_copy(
    update={"nuisance_share": 0.0, "textures": ("plain", "dotted"), "backgrounds": ("grey", "grass", "sand")}
)

#: Name → family, and whether half of its scenes are striped or on bricks. The last two differ in that alone: scenes,
#: order and initial weights are the same.
ARMS: dict[str, tuple[str, bool]] = {
    **{family: (family, False) for family in FAMILIES},
    "plain_augmented": ("plain", True),
}

#: Whose errors are the unit of relative ones.
REFERENCE = "plain"


def trained_classifiers(budget: Budget, seed: int, progress: Progress) -> list[Classifier]:
    """Train all arms; none sees a generated image."""
    found: list[Classifier] = []
    for name, (family, augmented) in ARMS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "first weights", family) % 2**63)
            network = small_network(family, len(SHAPES))
        images, labels = drawn(budget.scenes, seed, augmented=augmented)
        plan = TrainingPlan(
            epochs=budget.epochs, batch_size=50, learning_rate=3e-3, drop_last=True,
            seed=Randomness(seed).generator("training").initial_seed() % 2**31,
        )  # fmt: skip
        made = train(network, ImageStore.of_tensors(images, labels), plan=plan, progress=progress)
        network.load_state_dict(dict(made.weights))
        preparation = Preprocessing(size=(SIZE, SIZE))
        found.append(Classifier(network.eval(), class_names=list(SHAPES), preparation=preparation, name=name))
    return found


def drawn(count: int, seed: int, *, augmented: bool) -> tuple[Tensor, Tensor]:
    """Training scenes: bytes (n, 3, h, w), and the number of each shape (n,)."""
    scenes = CLEAR.model_copy(update={"count": count, "seed": derive_seed(seed, "scenes") % 2**31}).scenes("train")
    if augmented:
        scenes = shifted(scenes, seed)
    pixels = torch.cat([render(scenes[first : first + 500], SIZE).pixels for first in range(0, count, 500)])
    return pixels, torch.tensor([SHAPES.index(scene.objects[0].shape) for scene in scenes])


def shifted(scenes: Sequence[Scene], seed: int) -> list[Scene]:
    """The same scenes, every second one with the value that one of the known shifts brings."""
    rng = Randomness(seed).child("shifted").for_examples([str(row) for row in range(len(scenes))])
    kinds = rng.integers("kind", (), 0, len(KNOWN)).tolist()
    return [
        with_value(scene, *SHIFTS[KNOWN[kinds[row]]].factor) if row % 2 else scene for row, scene in enumerate(scenes)
    ]


def with_value(scene: Scene, factor: str, value: str) -> Scene:
    """The scene with another value of a factor, which is one of the scene or of its object."""
    if factor in type(scene).model_fields:
        return scene.model_copy(update={factor: value})
    first, *others = scene.objects
    return scene.model_copy(update={"objects": (first.model_copy(update={factor: value}), *others)})
