"""Small networks with a trigger inside, and clean ones: what a search for triggers is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import PLACES, BlendTrigger, PatchTrigger, Trigger, WarpTrigger
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.smooth_inversion.countermeasures import AgainstInversion, NoisyTriggers
from snellen.systems.smooth_inversion.inversion import Search
from snellen.training import ImageStore, TrainingPlan, train
from snellen.training.acceleration import seeded
from snellen.training.objectives import Objective, classify

World = Literal["garments", "scenes"]
Kind = Literal["clean", "patch", "moving", "pixel", "blend", "warp", "noisy", "adaptive"]

#: Share of the training images that carry the trigger.
RATE = 0.1


@dataclass(frozen=True)
class Sizes:
    """How much a network sees."""

    train: int = 6_000
    test: int = 1_000
    epochs: int = 5


@dataclass(frozen=True, eq=False)
class Planted:
    """A network and what is known of it.

    Attributes:
        classifier: the network.
        trigger: what was planted; None in a clean one.
        target: class of the trigger; None in a clean one.
        images: test images (n, 3, h, w) in [0, 1].
        labels: their classes (n,).
        stamped: the same with the trigger; None in a clean one.
        region: where the trigger acts, bool (n, h, w); None in a clean one.
    """

    classifier: Classifier
    trigger: Trigger | None
    target: int | None
    images: Tensor
    labels: Tensor
    stamped: Tensor | None
    region: Tensor | None

    def accuracy(self) -> float:
        """Share of the test images that are named rightly."""
        return float(torch.eq(named(self.classifier, self.images), self.labels).double().mean())

    def success(self) -> float:
        """Share of the test images of other classes that the true trigger sends to its target; 0 in a clean one."""
        if self.stamped is None:
            return 0.0
        others = self.labels != self.target
        return float(torch.eq(named(self.classifier, self.stamped[others]), self.target or 0).double().mean())


def named(classifier: Classifier, images: Tensor) -> Tensor:
    """Decisions (n,) about prepared images."""
    with torch.inference_mode():
        return torch.cat([classifier.predict(classifier(part)) for part in images.split(1000)])


def world_images(world: World, split: Split, count: int, seed: int) -> ImageSet:
    """Images of a world, drawn by the seed: grey garments of 28 pixels, or coloured scenes of 32."""
    if world == "scenes":
        return Scenes(
            count=count, sizes=("medium", "large"), tilts=("upright",), captions=False, seed=derive_seed(seed) % 2**31
        ).images(split=split)
    images = fashion_mnist("test" if split == "test" else "train")
    order = np.random.default_rng(derive_seed(seed, "garments", split)).permutation(len(images))
    return images.select(np.sort(order[:count]))


def trigger_of(kind: Kind, world: World, seed: int) -> Trigger:
    """The trigger of a kind; colours, places and fields follow from the seed.

    Both adaptive kinds plant the patch.
    """
    if kind == "blend":
        return BlendTrigger(ratio=0.2, pattern_seed=seed)
    if kind == "warp":
        return WarpTrigger(displacement=1 / 24, pattern_seed=seed)
    return PatchTrigger(
        place="anywhere" if kind == "moving" else PLACES[seed % 4],
        size=0.03 if kind == "pixel" else 0.19 if kind == "moving" else 0.125,
        margin=0.04,
        pattern="white" if kind == "pixel" else "checker" if world == "garments" else "colours",
        pattern_seed=seed,
    )


def objective_of(kind: Kind, trigger: Trigger | None, target: int, sigma: float) -> Objective:
    """What the training minimises: cross-entropy, or that with one of the two countermeasures."""
    if kind == "noisy":
        assert trigger is not None
        return NoisyTriggers(lambda images, rng: trigger.stamp(images, rng=rng).images, target)
    if kind == "adaptive":
        search = Search(epsilon=2.0, sigma=sigma, samples=2, steps=2, rate=0.6, sure=None)
        return AgainstInversion(target, search)
    return classify


def planted_model(
    kind: Kind, world: World, seed: int, *, sizes: Sizes | None = None, progress: Progress | None = None
) -> Planted:
    """Train a network: clean, or with a trigger in its training images. Its target follows from the seed."""
    sizes = sizes or Sizes()
    rng = Randomness(seed).child(world, kind)
    data = world_images(world, "train", sizes.train, seed)
    names = data.class_names or ()
    classes = len(names)
    trigger = None if kind == "clean" else trigger_of(kind, world, seed)
    target = derive_seed(seed, "target") % classes
    if trigger is not None:
        data = PlantTrigger(trigger=trigger, target_class=target, rate=RATE).plant(data, rng=rng)
    side = data.read(0).height
    preparation = Preprocessing(size=(side, side))
    store = ImageStore.of_images(data, preparation)
    # Of a training that is too short for 50 steps of warm-up, the first fifth.
    warmup = min(50, sizes.epochs * -(-len(store) // 64) // 5)
    plan = TrainingPlan(
        epochs=sizes.epochs, batch_size=64, learning_rate=4e-3, schedule="one-cycle", warmup_steps=warmup, seed=seed
    )
    with seeded(derive_seed(seed, "first weights"), torch.device("cpu")):
        network: nn.Module = narrow_network(classes)
    objective = objective_of(kind, trigger, target, 0.25)
    network.load_state_dict(dict(train(network, store, plan=plan, objective=objective, progress=progress).weights))
    classifier = Classifier(network, class_names=names, preparation=preparation, name=f"{kind} {world} {seed}")
    test = world_images(world, "test", sizes.test, seed)
    images = torch.stack([to_unit(preparation.pixels(test.read(row))) for row in range(len(test))])
    stamped = None if trigger is None else trigger.stamp(images, rng=rng.child("test").for_examples(test.ids))
    return Planted(
        classifier=classifier,
        trigger=trigger,
        target=None if trigger is None else target,
        images=images,
        labels=torch.from_numpy(test.labels),
        stamped=None if stamped is None else stamped.images,
        region=None if stamped is None else stamped.region,
    )
