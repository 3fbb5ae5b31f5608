"""The studies of the experiment: trained networks on scenes and Fashion-MNIST, and real classes for the smoke run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import import_extra
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.bundled import load_bundled
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.reproduction.representation_transfer.networks import SAME_ARCHITECTURE, STAGES, ZOO
from snellen.reproduction.representation_transfer.setting import Data, ImageStudy, Pictures, Strength
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Large shapes, tilted or not, on all grounds.
WORLD = Scenes(size=32, sizes=("large",), captions=False)
PLAN = TrainingPlan(epochs=6, batch_size=64, drop_last=True, learning_rate=6e-3, schedule="one-cycle", warmup_steps=60)
#: Without BatchNorm, training at the rate of the others fails.
CAREFUL_PLAN = PLAN.model_copy(update={"learning_rate": 3e-3, "epochs": 8})


@dataclass(frozen=True)
class Sizes:
    """Numbers of images: to train on, to calibrate sizes, to fit maps, to measure."""

    train: int
    calibrate: int
    fit: int
    measure: int


SCENES = Sizes(train=2400, calibrate=140, fit=100, measure=120)
FASHION = Sizes(train=1400, calibrate=160, fit=100, measure=140)


def scenes_study(seed: int, progress: Progress) -> ImageStudy:
    """Five networks on scenes with one of ten shapes."""
    world = WORLD.model_copy(update={"seed": seed})
    train_images = world.model_copy(update={"count": SCENES.train}).images(split="train")
    rest = world.model_copy(update={"count": SCENES.calibrate + SCENES.fit + SCENES.measure}).images(split="test")
    store = ImageStore.of_tensors(pixels_of(train_images), torch.from_numpy(train_images.labels), split="train")
    pictures = Pictures(to_unit(pixels_of(rest)), torch.from_numpy(rest.labels))
    return _study(store, pictures, SCENES, tuple(world.shapes), tuple(ZOO), seed, progress)


def fashion_study(seed: int, progress: Progress) -> ImageStudy:
    """Three networks of one architecture on the bundled part of Fashion-MNIST, which is divided anew for each seed."""
    images = load_bundled("fashion-mnist")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    pixels, labels = pixels_of(images)[order], torch.from_numpy(images.labels)[order]
    # The published test images are all there is here; these of them are ours to train on, the others are not seen.
    store = ImageStore.of_tensors(pixels[: FASHION.train], labels[: FASHION.train], split="train")
    rest = Pictures(to_unit(pixels[FASHION.train :]), labels[FASHION.train :])
    return _study(store, rest, FASHION, tuple(images.class_names or ()), SAME_ARCHITECTURE, seed, progress)


def pixels_of(images: ImageSet) -> Tensor:
    """All images as bytes: uint8 (n, 3, h, w)."""
    read = [np.array(images.read(row).convert("RGB")) for row in range(len(images))]
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).contiguous()


def _study(
    store: ImageStore,
    rest: Pictures,
    sizes: Sizes,
    classes: tuple[str, ...],
    zoo: tuple[str, ...],
    seed: int,
    progress: Progress,
) -> ImageStudy:
    rng = Randomness(seed).child("adversarial transfer")
    models = {name: trained(name, ZOO[name], store, classes, rng, progress) for name in zoo}
    parts, start = [], 0
    for count in (sizes.calibrate, sizes.fit, sizes.measure):
        parts.append(Pictures(rest.images[start : start + count], rest.labels[start : start + count]))
        start += count
    return ImageStudy(Data(*parts), Strength(), rng, models, STAGES)


def trained(
    name: str,
    build: Callable[[int], nn.Module],
    store: ImageStore,
    classes: tuple[str, ...],
    rng: Randomness,
    progress: Progress,
) -> Classifier:
    """Train a network from its own initial weights in its own order."""
    with seeded(rng.child(name).generator("initial weights").initial_seed(), torch.device("cpu")):
        network = build(len(classes))
    plan = (CAREFUL_PLAN if name == "no_batchnorm" else PLAN).model_copy(
        update={"seed": rng.child(name).generator("training").initial_seed() % 2**31}
    )
    network.load_state_dict(dict(train(network, store, plan=plan, progress=progress).weights))
    side = store.images.shape[-1]
    return Classifier(network, class_names=classes, preparation=Preprocessing(size=(side, side)), name=name)


def smoke_studies(seed: int) -> Mapping[str, ImageStudy]:
    """Two ResNet-18 and two vision transformers with random weights, on a few images of random pixels."""
    models = import_extra("torchvision.models", "models", "the smoke run of system 16")
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(44, 3, 32, 32, generator=generator)
    classes = tuple(str(number) for number in range(10))

    def transformer() -> nn.Module:
        built = models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=10
        )
        # The last layer of this class starts at zero, and gives no gradient then.
        nn.init.normal_(built.heads.head.weight, std=0.1)
        return built

    families: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
        "resnet18": (lambda: models.resnet18(weights=None, num_classes=10), ("layer1",)),
        "vision_transformer": (transformer, ("encoder.layers.encoder_layer_0",)),
    }
    strength = Strength(steps=2, draws=1, least_common=0, evaluations=2, factors=(1.0,), resamples=5)
    studies = {}
    for family, (build, layers) in families.items():
        zoo = {}
        for number in (1, 2):
            with seeded(seed + number, torch.device("cpu")):
                zoo[f"{family}_{number}"] = Classifier(build(), class_names=classes, name=f"{family}_{number}")
        labels = next(iter(zoo.values()))(pixels).argmax(1)
        parts = [Pictures(pixels[rows], labels[rows]) for rows in (slice(0, 2), slice(2, 42), slice(42, 44))]
        rng = Randomness(seed).child(family)
        studies[family] = ImageStudy(Data(*parts), strength, rng, zoo, layers)
    return studies
